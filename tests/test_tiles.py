import math

import numpy as np
import pytest
import torch

from ganvas.errors import UserError
from ganvas.models.translation import Generator, GeneratorConfig
from ganvas.pictures import to_uint8
from ganvas.tiles import plan, tiles, translated


def network(**settings) -> Generator:
    """Return one that looks as far as it can: an untrained one is near the identity."""
    torch.manual_seed(0)
    config = GeneratorConfig(**{"channels": 3, "source": 3, "width": 16, "height": 16, "widths": (6, 5, 4)} | settings)
    made = Generator(config).eval()
    made.to_image.weight.data.mul_(8)
    made.pass_on.weight.data.zero_()
    return made


def pictures(n: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, height, width, channels), np.uint8)


def apart(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "limit"),
    [(90, 131, 80 * 80), (131, 90, 80 * 80), (10, 260, 1000), (260, 10, 1000), (37, 33, 1)],
)
def test_tiled_equals_untiled(height, width, limit, skips):
    net, images = network(blocks=1, skips=skips), pictures(1, height, width)
    whole = translated(net, images)
    assert whole.std() > 20
    assert tiles(net, height, width) == 1 < tiles(net, height, width, limit)
    assert apart(translated(net, images, limit=limit), whole) <= 1


def test_tiles_that_overlapped_too_little_would_show():
    net, images = network(blocks=1), pictures(1, 90, 131)
    whole = translated(net, images)
    net.reach = 0
    assert apart(translated(net, images, limit=80 * 80), whole) > 1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 50), (3, 2), (17, 16), (32, 21)])
def test_a_picture_is_padded_with_its_mirror_image_and_cropped(height, width):
    net, images = network(), pictures(2, height, width)
    made = translated(net, images)
    assert made.shape == images.shape
    rows, columns = (mirrored(side, net.multiple) for side in (height, width))
    padded = torch.from_numpy(images[:, rows][:, :, columns]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        assert apart(to_uint8(net(padded))[:, :height, :width], made) <= 1


def mirrored(side: int, multiple: int) -> list[int]:
    there_and_back = [*range(side), *range(side - 2, 0, -1)]
    return [there_and_back[i % len(there_and_back)] for i in range(math.ceil(side / multiple) * multiple)]


@pytest.mark.parametrize(("source", "channels"), [(1, 3), (3, 1), (4, 4), (4, 3)])
def test_channels_are_the_networks(source, channels):
    net = network(source=source, channels=channels)
    assert translated(net, pictures(1, 8, 12, source)).shape == (1, 8, 12, channels)
    with pytest.raises(ValueError, match=f"{source} channels, not 2"):
        translated(net, pictures(1, 8, 12, 2))


def test_many_pictures_are_as_one_by_one_and_all_are_told():
    net, images, told = network(), pictures(19, 12, 16), []
    images.flags.writeable = False  # as a memory map's are
    made = translated(net, images, advance=told.append)
    assert sum(told) == 19
    assert max(told) > 1
    assert apart(made, np.concatenate([translated(net, image[None]) for image in images])) <= 1
    assert translated(net, images[:0]).shape == (0, 12, 16, 3)


def test_tiles_are_told():
    told: list[int] = []
    net = network(blocks=1)
    translated(net, pictures(2, 90, 100), limit=80 * 80, advance=told.append)
    assert sum(told) == 2 * tiles(net, 90, 100, 80 * 80) > 2


def test_it_wants_a_network_in_eval_mode_that_makes_numbers():
    net = network()
    with pytest.raises(ValueError, match="eval mode"):
        translated(net.train(), pictures(1, 8, 8))
    net.eval().to_image.weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        translated(net, pictures(1, 8, 8))


@pytest.mark.parametrize("limit", [1, 10_000, 3 * 2**18])
@pytest.mark.parametrize(("height", "width"), [(3000, 4000), (16, 20_000), (20_000, 16), (700, 1024), (4, 4)])
def test_spans_meet_and_see_enough(height, width, limit):
    rows, columns = plan(height, width, 4, 49, limit)
    for spans, length in ((rows, height), (columns, width)):
        assert [kept.start for _, kept in spans] == [0, *(kept.stop for _, kept in spans[:-1])]
        assert spans[-1][1].stop == length
        for seen, kept in spans:
            assert seen.start in (0, kept.start - 52)
            assert seen.stop in (length, kept.stop + 52)
            assert kept.start < kept.stop
            assert not any(edge % 4 for edge in (seen.start, seen.stop, kept.start, kept.stop))
    largest = max(s.stop - s.start for s, _ in rows) * max(s.stop - s.start for s, _ in columns)
    if limit > 10_000:  # what the overlap alone needs
        assert largest <= limit
    if height * width <= limit:
        assert len(rows) == len(columns) == 1
    assert plan(height - 3, width - 1, 4, 49, limit) == (rows, columns)  # up to the next multiples
