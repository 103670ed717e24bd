"""The page that a run ends with."""

from ganvas.report.page import write_report
from ganvas.report.views import Neighbours, neighbours

__all__ = ["Neighbours", "neighbours", "write_report"]
