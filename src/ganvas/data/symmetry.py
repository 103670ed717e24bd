"""Whether pictures look the same in a mirror."""

import numpy as np
from numpy.typing import NDArray

MOST = 2000
"""Pictures looked at."""
THUMBNAIL = 12
"""Their sides, in pixels."""
SHUFFLES = 500


def mirror_p(images: NDArray[np.uint8], rows: NDArray[np.int64], seed: int = 0) -> float:
    """Test whether pictures and mirrored pictures come from one distribution.

    A permutation test of the kernel two-sample statistic (Gretton et al. 2012, sections 2 and 3) between one half of
    some pictures and the other half mirrored, with a Gaussian kernel of the median distance, on thumbnails.

    Args:
        images: uint8 [N, H, W, C].
        rows: which of them count.
        seed: of the choice and the permutations.

    Returns:
        The p-value: small where mirroring shows. 1 for fewer than 8 pictures, which tell nothing.
    """
    random = np.random.default_rng(seed)
    chosen = random.permutation(rows)[:MOST]
    half = len(chosen) // 2
    if half < 4:
        return 1.0
    x = _thumbnails(images[np.sort(chosen)])[random.permutation(len(chosen))][: 2 * half]
    x[half:] = x[half:, :, ::-1]
    flat = x.reshape(2 * half, -1)
    norms = (flat**2).sum(1)
    squared = np.maximum(norms[:, None] + norms - 2 * flat @ flat.T, 0)
    similar = np.exp(-squared / max(np.median(squared), 1e-12))
    signs = np.repeat([1.0, -1.0], half)
    shuffled = np.stack([signs, *(random.permutation(signs) for _ in range(SHUFFLES))])
    statistic = ((shuffled @ similar) * shuffled).sum(1)
    return float((statistic >= statistic[0] - 1e-9).mean())


def _thumbnails(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Average [N, H, W, C] over blocks; what does not fill one at the borders is left out evenly."""
    result = images.astype(np.float64)
    for axis in (1, 2):
        side = result.shape[axis]
        block = max(1, side // THUMBNAIL)
        count = side // block
        first = (side - block * count) // 2
        result = np.take(result, range(first, first + block * count), axis)
        result = result.reshape(*result.shape[:axis], count, block, *result.shape[axis + 1 :]).mean(axis + 1)
    return result
