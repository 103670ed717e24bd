"""Pictures of any size through a network that translates, in tiles where they are large."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from ganvas.data.pixels import to_float
from ganvas.pictures import Pixels, to_uint8
from ganvas.sample import batch_of, device_of, finite, plain_fp32

LIMIT = 3 * 2**18
"""Pixels that a network is given at once; its features need most of the memory, some hundred bytes a pixel."""

Span = tuple[slice, slice]
"""Along one side: what the network sees, and the part of it whose translation is kept."""


def translated(
    network: nn.Module, images: Pixels, *, limit: int = LIMIT, advance: Callable[[int], None] | None = None
) -> Pixels:
    """Translate pictures of one size. All that is translated anywhere is translated here, always in fp32.

    A picture above the limit goes through in tiles that begin at multiples of `network.multiple` pixels and overlap by
    `network.reach`, all that a pixel depends on; so the result is the same, but for the last bits of sums in another
    order, which may move a level by one.

    Args:
        network: in eval mode, from [N, source, H, W] to [N, channels, H, W] in [-1, 1]; source and channels are in its
            `config`.
        images: uint8 [n, H, W, source]; 4 channels are premultiplied.
        limit: pixels that are translated at once, as far as the overlap lets.
        advance: called with the number of `tiles` after some of them.

    Returns:
        uint8 [n, H, W, channels].

    Raises:
        UserError: the network makes NaN or infinity.
        ValueError: it is in training mode, or takes other channels.
    """
    net: Any = network
    n, height, width, channels = images.shape
    if network.training or channels != net.config.source:
        raise ValueError(f"translated takes a network in eval mode and {net.config.source} channels, not {channels}")
    rows, columns = plan(height, width, net.multiple, net.reach, limit)
    device = device_of(network)
    at_once = max(1, min(batch_of(network), limit // (height * width)))
    result = np.empty((n, height, width, net.config.channels), np.uint8)
    for first in range(0, n, at_once):
        some = images[first : first + at_once]
        for (seen_rows, kept_rows), (seen_columns, kept_columns) in itertools.product(rows, columns):
            with torch.inference_mode(), plain_fp32(device):
                made = network(to_float(some[:, seen_rows, seen_columns].copy()).to(device))
            finite(made)
            top, left = kept_rows.start - seen_rows.start, kept_columns.start - seen_columns.start
            place = result[first : first + at_once, kept_rows, kept_columns]
            place[:] = to_uint8(made[:, :, top : top + place.shape[1], left : left + place.shape[2]])
            if advance:
                advance(len(some))
    return result


def tiles(network: nn.Module, height: int, width: int, limit: int = LIMIT) -> int:
    """Return how many tiles a picture is translated in."""
    net: Any = network
    return math.prod(map(len, plan(height, width, net.multiple, net.reach, limit)))


def plan(height: int, width: int, multiple: int, reach: int, limit: int) -> tuple[list[Span], list[Span]]:
    """Return the tiles of a picture, as spans of rows and of columns.

    All begin and end at multiples, so the last may end beyond the picture. What is kept lies at least
    `reach` inside of what is seen, or at the border.
    """
    height, width = (-(-side // multiple) * multiple for side in (height, width))
    overlap = -(-reach // multiple) * multiple
    across = min(width, max(math.isqrt(limit), limit // height))
    return _spans(height, limit // across, multiple, overlap), _spans(width, across, multiple, overlap)


def _spans(length: int, room: int, multiple: int, overlap: int) -> list[Span]:
    """Cut a length into equal spans that see at most `room` pixels each, or where that is too little, one multiple."""
    blocks = length // multiple
    each = blocks if length <= room else max(1, (room - 2 * overlap) // multiple)
    parts = -(-blocks // each)
    cuts = [blocks * part // parts * multiple for part in range(parts + 1)]
    return [(slice(max(0, a - overlap), min(length, b + overlap)), slice(a, b)) for a, b in itertools.pairwise(cuts)]
