"""Whether pictures have plain grounds, as drawings have, and photographs have not."""

import numpy as np
from numpy.typing import NDArray

MOST = 1000
"""Pictures looked at."""


def flat_share(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> float:
    """Return the share of pixels, 0 to 1, that equal their right neighbour to the bit.

    Measured: photographs (flowers, paintings, CIFAR-10) 0.00 to 0.06, clothes 0.46, digits, emoji and tiles 0.3 to 0.8.

    Args:
        images: uint8 [N, H, W, C].
        rows: which of them count.
    """
    some = images[rows[:: max(1, len(rows) // MOST)]]
    return float((some[:, :, 1:] == some[:, :, :-1]).all(-1).mean())
