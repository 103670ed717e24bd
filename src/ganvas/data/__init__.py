"""Pictures from folders, zips, idx files and named sets, in one uint8 cache on disk."""

from ganvas.data.cache import clean_cache
from ganvas.data.dataset import Dataset, load_dataset, open_dataset
from ganvas.data.sampler import balanced_rows_at, rows_at
from ganvas.data.sheet import contact_sheet, show
from ganvas.data.symmetry import mirror_p

__all__ = [
    "Dataset",
    "balanced_rows_at",
    "clean_cache",
    "contact_sheet",
    "load_dataset",
    "mirror_p",
    "open_dataset",
    "rows_at",
    "show",
]
