import importlib
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from toys import Toy, ToyConfig, save, toy

from ganvas import sample
from ganvas.errors import UserError
from ganvas.sample import Model, latent, load, pick_device, render, rows_of_classes, sheet


@pytest.fixture
def run(tmp_path) -> Path:
    (tmp_path / "run").mkdir()
    save(tmp_path / "run" / "model.safetensors")
    return tmp_path / "run"


def draw(model: Model, **what) -> np.ndarray:
    return np.concatenate(list(render(model, **what)))


# ---------------------------------------------------------------------------------------------------- drawing


class Conv(nn.Module):
    def __init__(self, config: ToyConfig, upsample: str, activation: nn.Module) -> None:
        super().__init__()
        self.config = config
        first, last = nn.Conv2d(9, 13, 3, padding=1), nn.ConvTranspose2d(13, config.channels, 3)
        self.start = nn.Linear(config.z_dim, 9 * 7 * 5)
        self.layers = nn.Sequential(
            first, nn.BatchNorm2d(13), activation, nn.Upsample(scale_factor=2, mode=upsample), last, nn.Tanh()
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.layers(self.start(z).unflatten(1, (9, 7, 5)))


def own(name: str, **settings: int) -> Callable[[], nn.Module]:
    module, _, kind = name.partition(":")
    home = importlib.import_module(f"ganvas.models.{module}")
    return lambda: getattr(home, kind)(home.GeneratorConfig(**settings))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dense": lambda: Toy(ToyConfig(channels=3, width=7, height=5)),
    "one pixel": lambda: Toy(ToyConfig(channels=1, width=1, height=1)),
    "bilinear": lambda: Conv(ToyConfig(), "bilinear", nn.Softplus()),
    "nearest": lambda: Conv(ToyConfig(channels=4), "nearest", nn.GELU()),
    "r3gan": own("r3gan:Generator", channels=3, width=20, height=12),
    "mnist": own("articles:MnistGenerator", channels=1),
}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
def test_a_seed_is_one_picture_to_the_bit_whatever_is_drawn_with_it(network, threads, monkeypatch):
    monkeypatch.setattr(sample, "to_uint8", lambda images: images.numpy())
    torch.manual_seed(0)
    model = Model({"generator": network().eval()})
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = draw(model, seeds=range(37))
        assert together.dtype == np.float32
        scattered = [36, 5, 13, 21, 0, 5, 8, 31, 7]
        assert np.array_equal(draw(model, seeds=scattered), together[scattered])
        assert np.array_equal(draw(model, seeds=range(11, 30)), together[11:30])
        for seed in (0, 7, 17):
            assert np.array_equal(draw(model, seeds=[seed]), together[[seed]])
    finally:
        torch.set_num_threads(before)


def test_pictures_come_in_the_order_asked_for():
    model = toy()
    wanted = [9, 1, 17, 2, 9]
    chunks = list(render(model, seeds=wanted))
    assert sum(len(chunk) for chunk in chunks) == 5
    expected = np.stack([model.generate(seed=seed)[0] for seed in wanted])
    assert np.array_equal(np.concatenate(chunks), expected)


def test_noise_and_seeds_agree_and_truncation_scales_the_noise():
    model, seeds = toy(), range(8)
    z = torch.stack([latent(seed, 7) for seed in seeds])
    assert np.array_equal(draw(model, seeds=seeds), draw(model, z=z))
    assert np.array_equal(draw(model, seeds=seeds, truncation=0.5), draw(model, z=z * 0.5))
    still = draw(model, seeds=seeds, truncation=0)
    assert np.abs(still.astype(int) - still[0]).max() <= 1


def test_latents_do_not_touch_the_global_random_numbers():
    before = torch.get_rng_state()
    assert torch.equal(latent(3, 5), latent(3, 5))
    assert not torch.equal(latent(3, 5), latent(4, 5))
    assert torch.equal(before, torch.get_rng_state())


def test_endless_work_is_drawn_a_few_pictures_at_a_time():
    done: list[int] = []
    chunks = render(toy(), seeds=range(10**12), progress=done.append)
    assert done == []
    drawn = [len(chunk) for chunk in itertools.islice(chunks, 3)]
    assert done == drawn
    assert max(drawn) <= 32


def test_precision_is_fp32_and_the_settings_of_others_come_back(monkeypatch):
    model, seen = toy(), []
    model.generator.register_forward_hook(
        lambda *_: seen.append((torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")))
    )
    plain = draw(model, seeds=range(3))
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert np.array_equal(draw(model, seeds=range(3)), plain)
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert [autocast for _, autocast in seen] == [False, False]


def test_generate_returns_straight_alpha_and_render_premultiplied():
    model = toy(channels=4)
    model.generator.layers[2].bias.data[30:60] = -9  # green, far below the alpha
    held, given = draw(model, seeds=range(2)), model.generate(2)
    assert held.shape == given.shape == (2, 5, 6, 4)
    assert np.array_equal(held[..., 3], given[..., 3])
    assert (given[..., :3] >= held[..., :3]).all()
    assert not np.array_equal(given, held)


@pytest.mark.parametrize("truncation", [float("nan"), float("inf"), -0.1])
def test_bad_truncation(truncation):
    with pytest.raises(UserError, match="truncation cannot be"):
        render(toy(), seeds=[1], truncation=truncation)


def test_bad_requests():
    with pytest.raises(UserError, match="at least 1"):
        toy().generate(0)
    for seed in (-1, 2**63):
        with pytest.raises(UserError, match="is no seed"):
            toy().generate(seed=seed)
    with pytest.raises(ValueError, match="either seeds or z"):
        render(toy())
    with pytest.raises(UserError, match="does not draw from noise"):
        render(Model({"generator": nn.Linear(1, 1)}), seeds=[1])
    model = toy()
    model.generator.layers[0].weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        model.generate()
    model.generator.train()
    with pytest.raises(ValueError, match="eval mode"):
        model.generate()


# ---------------------------------------------------------------------------------------------------- classes

ARTICLES = ("Dense", "Transpose", "Upsample", "Mnist", "Colour")
CLASSED = {
    "r3gan": own("r3gan:Generator", channels=3, width=20, height=12, classes=3),
    **{name: own(f"articles:{name}Generator", channels=1, classes=3) for name in ARTICLES},
}


@pytest.fixture(params=CLASSED.values(), ids=CLASSED.keys())
def exact(request, monkeypatch) -> Model:
    """A model with classes; what it draws stays float."""
    monkeypatch.setattr(sample, "to_uint8", lambda images: images.numpy())
    torch.manual_seed(0)
    return Model({"generator": request.param().eval()})


def test_a_seed_and_class_are_one_picture_to_the_bit_whatever_is_drawn_with_it(exact):
    seeds, labels = [0, 1, 2, 3, 8, 5, 6, 7, 9, 0], [0, 1, 2, 2, 1, 0, 1, 2, 0, 2]
    together = draw(exact, seeds=seeds, labels=labels)
    for index in (0, 4, 9):
        assert np.array_equal(draw(exact, seeds=[seeds[index]], labels=[labels[index]]), together[[index]])
    assert np.array_equal(draw(exact, seeds=seeds[::-1], labels=iter(labels[::-1])), together[::-1])
    assert not np.array_equal(together[0], together[9])
    assert np.array_equal(draw(exact, seeds=range(4)), draw(exact, seeds=range(4), labels=[0, 1, 2, 0]))


def test_a_mixture_of_classes_lies_between_them(exact):
    weights = [torch.tensor([1 - share, share, 0.0]) for share in (0.0, 0.01, 0.3, 0.7, 0.99, 1.0)]
    way = np.concatenate([draw(exact, seeds=[5], labels=[some]) for some in weights])
    ends = np.concatenate([draw(exact, seeds=[5], labels=[label]) for label in (0, 1)])
    assert np.array_equal(way[[0, -1]], ends)
    far = np.linalg.norm((way[:, None] - ends).reshape(6, 2, -1), axis=2) / np.linalg.norm(ends[0] - ends[1])
    assert (np.diff(far[:, 0]) > 0).all()
    assert (np.diff(far[:, 1]) < 0).all()
    assert far[[1, 4], [0, 1]].max() < 0.1


@pytest.mark.parametrize("network", ["r3gan:Discriminator", *(f"articles:{name}Discriminator" for name in ARTICLES)])
def test_what_is_judged_is_judged_as_one_of_its_class(network):
    module, _, kind = network.partition(":")
    home, shape = importlib.import_module(f"ganvas.models.{module}"), (1, 28, 28)
    torch.manual_seed(0)
    judge = getattr(home, kind)(
        home.DiscriminatorConfig(*shape, classes=3)
        if module == "r3gan"
        else home.DiscriminatorConfig(channels=1, classes=3)
    ).eval()
    x = torch.rand(1, *shape).expand(3, -1, -1, -1) * 2 - 1
    with torch.no_grad():
        logits = judge(x, torch.tensor([0, 1, 2]))
        turned = judge(x, torch.tensor([2, 0, 1]))
    assert len(set(logits.tolist())) == 3
    torch.testing.assert_close(turned, logits[[2, 0, 1]])


def test_endless_classes_are_drawn_a_few_pictures_at_a_time():
    model = toy("a", "b")
    chunks = render(model, seeds=itertools.count(), labels=itertools.cycle([1, 0]))
    drawn = np.concatenate(list(itertools.islice(chunks, 3)))
    assert np.array_equal(drawn[:2], draw(model, seeds=[0, 1], labels=[1, 0]))
    assert not np.array_equal(drawn[:2], draw(model, seeds=[0, 1]))


def test_plain_networks_are_told_whole_numbers():
    """A network of one's own may know no mixtures."""
    model, told = toy("a", "b", "c"), []
    model.generator.register_forward_hook(lambda _, given, __: told.append(given[1]))
    list(render(model, seeds=range(4)))
    list(render(model, z=torch.zeros(2, 7), labels=torch.tensor([2, 1])))
    assert [label.dtype for label in told] == [torch.int64] * 2
    assert told[0][:4].tolist() == [0, 1, 2, 0]
    assert told[1][:2].tolist() == [2, 1]


@pytest.mark.parametrize("label", [3, -1, [0.5, 0.5], [0, 1, 0]])
def test_labels_that_the_model_does_not_have(label):
    with pytest.raises(ValueError, match="neither one of 3 labels nor their weights"):
        draw(toy("a", "b", "c"), seeds=[0], labels=[torch.tensor(label)])


def test_labels_that_do_not_fit_what_is_drawn():
    with pytest.raises(ValueError, match="shorter"):
        draw(toy("a", "b"), seeds=[0, 1], labels=[1])
    with pytest.raises(ValueError, match="with classes only"):
        render(toy(), seeds=[0], labels=[0])


def test_classes_are_asked_for_by_name():
    model = toy("daisy", "rose", "tulip")
    assert model.classes == ("daisy", "rose", "tulip")
    assert np.array_equal(model.generate(2, seed=3, class_name="rose"), draw(model, seeds=[3, 4], labels=[1, 1]))
    with pytest.raises(UserError, match="no class 'dasy'; did you mean 'daisy'"):
        model.generate(class_name="dasy")
    with pytest.raises(UserError, match="this model knows no classes"):
        toy().generate(class_name="daisy")


@pytest.mark.parametrize("about", [{}, {"data": 5}, {"data": {"classes": 7}}, {"data": {"classes": ["one"]}}])
def test_classes_without_fitting_names_are_numbers(about):
    assert Model(toy("a", "b").networks, about).classes == ("0", "1")
    assert Model(toy().networks, about).classes == ()


def test_a_sheet_has_a_row_for_each_class():
    assert sheet(60, 0) == (8, 8)
    assert sheet(60, 3) == (16, 3)
    assert sheet(60, 200) == (3, 16)
    assert rows_of_classes(toy(), 5) == {"seeds": range(5)}
    assert rows_of_classes(toy("a", "b"), 12) == {"seeds": [0, 1, 2, 3, 4, 5] * 2, "labels": [0] * 6 + [1] * 6}


# ---------------------------------------------------------------------------------------------------- loading


def test_load_takes_the_best_and_draws_what_was_saved(run):
    save(run / "best.safetensors", width=8)
    assert load(run).generate().shape == (1, 5, 8, 3)
    last = load(run, weights="last", device="cpu")
    assert last.path == run / "model.safetensors"
    assert last.about == {"images": 5}
    assert np.array_equal(last.generate(3, seed=4), toy().generate(3, seed=4))


def test_devices():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type in ("cuda", "mps", "cpu")
    for name in {"cuda", "mps", "tpu"} - {pick_device("auto").type}:
        with pytest.raises(UserError, match=f"no device {name} here"):
            pick_device(name)
