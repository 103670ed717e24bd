"""Pictures from folders, zips, shards, idx files and named sets, in one uint8 cache or streamed; and pairs of them."""

from ganvas.data.cache import clean_cache
from ganvas.data.dataset import Dataset
from ganvas.data.edges import edges
from ganvas.data.flatness import flat_share
from ganvas.data.opening import load_dataset, open_dataset
from ganvas.data.sampler import balanced_rows_at, rows_at
from ganvas.data.sheet import contact_sheet, show, show_data
from ganvas.data.symmetry import mirror_p

__all__ = [
    "Dataset",
    "balanced_rows_at",
    "clean_cache",
    "contact_sheet",
    "edges",
    "flat_share",
    "load_dataset",
    "mirror_p",
    "open_dataset",
    "rows_at",
    "show",
    "show_data",
]
