import pytest
import torch
from torch import Tensor, nn

from ganvas.console import progress_to
from ganvas.inversion import invert


class Blobs(nn.Module):
    """A soft spot at a place that the noise says, in a picture of 16x16; the class says how bright."""

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        ys, xs = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
        far = (ys - 8 - 3 * z[:, :1, None]) ** 2 + (xs - 8 - 3 * z[:, 1:, None]) ** 2
        light = 2.0 if label is None else (1.0 + label[:, None, None])
        return (light * torch.exp(-far / 8) - 1)[:, None]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_noise_of_a_picture_is_found(seed):
    wanted = torch.tensor([[1.2, -0.7]])
    z, label, left = invert(Blobs(), Blobs()(wanted)[0], 2, seed=seed)
    assert torch.allclose(z, wanted, atol=0.05)
    assert label is None
    assert left < 0.01


def test_the_class_is_found_too():
    wanted = Blobs()(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))[0]
    _, label, left = invert(Blobs(), wanted, 2, range(3))
    assert label == 1
    assert left < 0.01
    _, label, worse = invert(Blobs(), wanted, 2, [0])
    assert label == 0
    assert worse > 2 * left


@pytest.mark.parametrize("at_once", [1, 16])  # a class at a time; two
def test_classes_are_searched_in_parts(monkeypatch, at_once):
    wanted, told = Blobs()(torch.tensor([[0.5, 0.5]]), torch.tensor([1]))[0], []
    whole = invert(Blobs(), wanted, 2, range(3), steps=40)
    monkeypatch.setattr("ganvas.inversion.AT_ONCE", at_once)
    with progress_to(lambda share, what: told.append((share, what))):
        parts = invert(Blobs(), wanted, 2, range(3), steps=40)
    assert (whole.label, parts.label) == (1, 1)
    assert whole.left == pytest.approx(parts.left, abs=0.01)  # the noises to start from are others
    assert len(told) == 40 * (3 if at_once == 1 else 2)
    assert told[-1] == (pytest.approx(1), "looking for the picture in the model")


def test_clips_are_found_like_pictures():
    class Clips(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return torch.stack([Blobs()(z), Blobs()(-z)], 1)

    wanted = torch.tensor([[1.0, 0.3]])
    z, _, _ = invert(Clips(), Clips()(wanted)[0], 2, steps=200)
    assert torch.allclose(z, wanted, atol=0.05)


def test_equal_seeds_find_equal_noise():
    target = Blobs()(torch.tensor([[0.1, 0.2]]))[0]
    assert torch.equal(invert(Blobs(), target, 2, steps=20)[0], invert(Blobs(), target, 2, steps=20)[0])
