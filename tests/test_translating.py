"""Translation, paired and unpaired: what is compared, what else is minimised, and a run from data to report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import ganvas
from ganvas import checkpoint
from ganvas.cli import main
from ganvas.config import AugmentConfig, Budget, Config, Facts
from ganvas.data import Dataset
from ganvas.diffaug import FLIP, TRANSLATION, augment, draw
from ganvas.errors import UserError
from ganvas.fitting import start_from
from ganvas.models.translation import GeneratorConfig
from ganvas.presets import find_preset
from ganvas.run import open_run
from ganvas.state import State
from ganvas.tasks.base import Batch, Scores, Task
from ganvas.tasks.paired import Paired
from ganvas.tasks.unpaired import PLACES, Unpaired, at_places
from ganvas.training import drawn, judged, real_batch, step

CPU = torch.device("cpu")
SIDE = 16
TINY = ["generator.widths=(8,4)", "generator.blocks=1", "discriminator.widths=(8,4)"]
WORDS = [word for setting in TINY for word in ("--set", setting)]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANVAS_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pairs side by side: a coloured square on black, and the same in its opposite colours."""
    folder, random = tmp_path_factory.mktemp("pairs") / "halves", np.random.default_rng(0)
    folder.mkdir()
    for number in range(60):
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        x, y = random.integers(2, 8, 2)
        picture[y : y + 6, x : x + 6] = random.integers(60, 256, 3)
        Image.fromarray(np.concatenate([picture, 255 - picture], axis=1)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 dark pictures in trainA and as many light ones in trainB."""
    folder, random = tmp_path_factory.mktemp("kinds") / "kinds", np.random.default_rng(0)
    for name, base in (("trainA", 0), ("trainB", 150)):
        (folder / name).mkdir(parents=True)
        for number in range(60):
            noise = random.integers(base, base + 100, (SIDE, SIDE, 3), np.uint8)
            Image.fromarray(noise).save(folder / name / f"{number:02}.png")
    return folder


def make_config(preset: str, task: str, **weights: float) -> Config:
    facts = Facts(50, SIDE, SIDE, 3, Budget(steps=10), "cpu", task=task, source=3)
    config = find_preset(preset)(facts)
    small = {"widths": (8, 4)}
    return config.replace(
        task=task,
        generator=replace(config.generator, settings=config.generator.settings | small | {"blocks": 1}),
        discriminator=replace(config.discriminator, settings=config.discriminator.settings | small),
        weights=config.weights | weights,
    )


def make_batch(n: int = 4, seed: int = 0) -> Batch:
    random = torch.Generator().manual_seed(seed)
    return {name: torch.rand(n, 3, SIDE, SIDE, generator=random) * 2 - 1 for name in ("image", "source")}


# ------------------------------------------------------------------------------------------------------ batches


def test_partners_come_together(halves: Path) -> None:
    data = ganvas.open_dataset(str(halves), task="paired")
    state = State(make_config("pix2pix", "paired").replace(mirror=True), CPU)
    for _ in range(5):
        batch = real_batch(data, state)
        assert torch.allclose(batch["source"], -batch["image"], atol=1e-6)
        state.step += 1


def test_others_meet_at_random(kinds: Path) -> None:
    data = ganvas.open_dataset(str(kinds), task="unpaired")
    assert data.source is not None
    assert len(data.rows["train"]) == len(data.source.rows["train"])
    tagged = [replace(kind, images=np.zeros_like(kind.images) + number(kind)) for kind in (data.source, data)]
    state = State(make_config("cut", "unpaired").replace(batch=20), CPU)
    batch = real_batch(replace(tagged[1], source=tagged[0]), state)
    places = [batch[name][:, 0, 0, 0].tolist() for name in ("source", "image")]
    assert sum(a == b for a, b in zip(*places, strict=True)) < 5


def number(kind: Dataset) -> np.ndarray:
    """Return for each picture its place among those to train on, as a shade [N, 1, 1, 1]."""
    shades = np.zeros(len(kind), np.uint8)
    shades[kind.rows["train"]] = np.arange(len(kind.rows["train"]))
    return shades[:, None, None, None]


# ------------------------------------------------------------------------------------------------------- paired


def test_a_pair_is_judged_beside_its_source_and_its_distance_counts() -> None:
    task, batch = Paired(make_config("pix2pix", "paired", l1=3.0)), make_batch()
    pairs = task.pairs("generator", batch)
    pair = pairs["image"]
    assert pair.real is batch["image"]
    assert pair.condition is batch["source"]
    assert pair.taps == ()
    assert pair.judge(pair.fake).shape == (4, 2 * SIDE**2)
    extras = task.extras("generator", batch, pairs, {"image": Scores(pair)})
    expected = 3 * (task.generator(batch["source"]) - batch["image"]).abs().mean((1, 2, 3))
    assert torch.allclose(extras["generator/l1"], expected)
    assert task.extras("discriminator", batch, task.pairs("discriminator", batch), {}) == {}


def test_features_of_the_discriminator_are_matched() -> None:
    task, batch = Paired(make_config("pix2pix", "paired", features=2.0)), make_batch()
    pairs = task.pairs("generator", batch)
    scores = Scores(pairs["image"])
    found = task.extras("generator", batch, pairs, {"image": scores})["generator/features"]
    _, real = task.discriminator(batch["image"], batch["source"], taps=(0, 1))
    _, fake = task.discriminator(pairs["image"].fake, batch["source"], taps=(0, 1))
    each = [(a - b).abs().flatten(1).mean(1) for a, b in zip(real, fake, strict=True)]
    assert torch.allclose(found, 2 * (each[0] + each[1]) / 2)
    assert task.pairs("discriminator", batch)["image"].taps == ()


def test_a_shade_that_is_off_costs_no_gradient_and_a_stain_does() -> None:
    task, batch = Paired(make_config("pix2pix", "paired", gradient=2.0)), make_batch()
    pair = task.pairs("generator", batch)["image"]

    def cost(fake: torch.Tensor) -> torch.Tensor:
        return task.extras("generator", batch, {"image": replace(pair, fake=fake)}, {})["generator/gradient"]

    assert cost(batch["image"] + 0.3) == pytest.approx(0, abs=1e-5)
    stained = batch["image"].clone()
    stained[:, :, 1, 1] += 0.3  # four differences from its neighbours, two down and two across
    assert cost(stained) == pytest.approx(2 * 0.3 * 4 / (SIDE * (SIDE - 1)), rel=1e-3)


def test_augmentation_moves_a_source_along_but_keeps_its_colours() -> None:
    config = make_config("pix2pix", "paired").replace(augment=AugmentConfig(("flip", "colour", "translation")))
    task, batch = Paired(config), make_batch()
    batch["augment"] = draw(4, torch.Generator().manual_seed(1))
    batch["augment"][:, [FLIP, TRANSLATION]] = 0.1
    pair = judged(task, "discriminator", batch, config, 0.5)["image"]
    moved = augment(batch["source"], batch["augment"], 0.5, ("flip", "translation"))
    assert pair.condition is not None
    assert torch.equal(pair.condition, moved)
    assert not torch.equal(moved, batch["source"])
    assert torch.equal(
        pair.alter(batch["source"]), augment(batch["source"], batch["augment"], 0.5, config.augment.kinds)
    )


def test_it_learns_to_turn_colours_into_their_opposites(halves: Path) -> None:
    data = ganvas.open_dataset(str(halves), task="paired")
    state = State(make_config("pix2pix", "paired"), CPU)
    first = step(state, real_batch(data, state), 1.0, "fp32")
    for _ in range(60):
        last = step(state, real_batch(data, state), 1.0, "fp32")
    assert float(last["generator/l1"]) < 0.35 * float(first["generator/l1"])


# ----------------------------------------------------------------------------------------------------- unpaired


def test_places_are_spread_over_the_picture_and_differ() -> None:
    features = torch.arange(30.0 * 20).view(1, 1, 30, 20).expand(2, 3, 30, 20)
    chances = torch.rand(2, PLACES, generator=torch.Generator().manual_seed(0))
    chosen = at_places(features, chances)
    assert chosen.shape == (2, PLACES, 3)
    for row in chosen[..., 0]:
        assert len(set(row.tolist())) == PLACES
        assert ((row / 600 - torch.arange(PLACES) / PLACES).abs() <= 1 / PLACES).all()
    assert not torch.equal(chosen[0], chosen[1])
    few = at_places(features[:, :, :4, :4], chances)
    assert few.shape == (2, 16, 3)
    assert len(set(few[0, :, 0].tolist())) == 16


def test_contrast_is_the_cross_entropy_of_finding_the_sources_place() -> None:
    task, batch = Unpaired(make_config("cut", "unpaired")), make_batch(2)
    chances = torch.rand(2, PLACES, generator=torch.Generator().manual_seed(0))
    project = task.networks["generator"]["projector"]
    with torch.no_grad():
        found = task._contrast(task.there.encode(batch["source"]), batch["image"], chances)
        keys, queries = (
            project([at_places(x, chances) for x in task.there.encode(batch[name])]) for name in ("source", "image")
        )
    for row in range(2):
        each = []
        for query, key in zip(queries, keys, strict=True):
            chosen = [
                -torch.log_softmax(torch.stack([query[row, p] @ other for other in key[row]]) / 0.07, 0)[p]
                for p in range(query.shape[1])
            ]
            each.append(torch.stack(chosen).mean())
        assert float(found[row]) == pytest.approx(float(torch.stack(each).mean()), rel=1e-4)


def test_both_contrasts_are_weighed_and_of_the_right_pictures() -> None:
    task, batch = Unpaired(make_config("cut", "unpaired", nce=2.0, nce_identity=3.0)), make_batch()
    batch |= task.draw(4, torch.Generator().manual_seed(0))
    extras = task.extras("generator", batch, task.pairs("generator", batch), {})

    def contrast(name: str) -> torch.Tensor:
        pictures = batch[name]
        return task._contrast(task.there.encode(pictures), task.there(pictures), batch["places"])

    assert torch.allclose(extras["generator/nce"], 2 * contrast("source"), rtol=1e-4)
    assert torch.allclose(extras["generator/nce_identity"], 3 * contrast("image"), rtol=1e-4)
    assert not torch.allclose(contrast("source"), contrast("image"), rtol=1e-2)


def test_contrast_wants_each_place_to_be_like_its_source() -> None:
    task, batch = Unpaired(make_config("cut", "unpaired")), make_batch()
    chances = torch.rand(4, PLACES, generator=torch.Generator().manual_seed(0))
    same, other = (
        task._contrast(task.there.encode(batch["source"]), fake, chances) for fake in (batch["source"], batch["image"])
    )
    assert same.shape == (4,)
    assert (same < 0.5 * other).all()


def test_cut_has_two_contrasts_and_fastcut_one() -> None:
    names = {}
    for preset in ("cut", "fastcut"):
        task, batch = Unpaired(make_config(preset, "unpaired")), make_batch()
        batch |= task.draw(4, torch.Generator().manual_seed(0))
        pairs = task.pairs("generator", batch)
        assert list(pairs) == ["image"]
        assert list(task.networks["generator"]) == ["generator", "projector"]
        names[preset] = list(task.extras("generator", batch, pairs, {}))
        gradients = torch.autograd.grad(
            sum(x.sum() for x in task.extras("generator", batch, pairs, {}).values()),
            list(task.networks["generator"].parameters()), allow_unused=True,
        )  # fmt: skip
        assert all(gradient is not None for gradient in gradients)
    assert names == {"cut": ["generator/nce", "generator/nce_identity"], "fastcut": ["generator/nce"]}


def test_a_cycle_leads_there_and_back() -> None:
    task, batch = Unpaired(make_config("cyclegan", "unpaired", cycle=2.0, identity=3.0)), make_batch()
    batch |= task.draw(4, torch.Generator().manual_seed(0))
    there, back = (task.networks["generator"][name] for name in ("generator", "backward"))
    pairs = task.pairs("generator", batch)
    assert pairs["image"].real is batch["image"]
    assert pairs["back"].real is batch["source"]
    judges = task.networks["discriminator"]
    assert pairs["image"].discriminator is judges["discriminator"]
    assert pairs["back"].discriminator is judges["backward"]
    assert torch.equal(pairs["back"].fake, back(batch["image"]))
    extras = task.extras("generator", batch, pairs, {})

    def far(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().mean((1, 2, 3))

    source, target = batch["source"], batch["image"]
    assert torch.allclose(
        extras["generator/cycle"], 2 * (far(back(there(source)), source) + far(there(back(target)), target)), atol=1e-5
    )
    assert torch.allclose(
        extras["generator/identity"], 3 * (far(there(target), target) + far(back(source), source)), atol=1e-5
    )


def test_the_pool_of_fakes_is_part_of_the_state() -> None:
    config = make_config("cyclegan", "unpaired")

    def steps(state: State, numbers: range) -> None:
        for seed in numbers:
            step(state, make_batch(16, seed), 1.0, "fp32")

    whole = State(config, CPU)
    steps(whole, range(5))  # 80 fakes; the pools hold 50
    tensors, numbers = whole.copied(), whole.numbers()
    assert int(tensors["discriminator.image_pool.count"]) == 50
    resumed = State(config, CPU)
    resumed.restore(tensors)
    resumed.recall(numbers)
    for state in (whole, resumed):
        steps(state, range(5, 7))
    assert all(torch.equal(value, resumed.tensors()[name]) for name, value in whole.tensors().items())
    assert not torch.equal(
        whole.tensors()["discriminator.image_pool.images"], tensors["discriminator.image_pool.images"]
    )


def test_another_training_starts_with_empty_pools(
    tmp_path: Path, kinds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(kinds, tmp_path, "--task", "unpaired", "--preset", "cyclegan")
    state = State(open_run(run).plan.config, CPU)
    capsys.readouterr()
    start_from(run, state, trust=False)
    assert "starts from scratch" not in capsys.readouterr().err  # it has all that can be taken over
    old = safetensors.torch.load(checkpoint.read(run / "checkpoint") or b"")
    assert int(old["discriminator.image_pool.count"]) > 0
    assert int(state.tensors()["discriminator.image_pool.count"]) == 0
    name = next(key for key in old if key.startswith("discriminator.backward."))
    assert torch.equal(state.tensors()[name], old[name])


def test_the_generators_turn_leaves_the_pool_alone() -> None:
    state = State(make_config("cyclegan", "unpaired").replace(order=("generator",)), CPU)
    batch = drawn(state, make_batch(), "generator")
    state.task.pairs("generator", batch)
    assert int(state.tensors()["discriminator.image_pool.count"]) == 0
    fakes = {name: pair.fake for name, pair in state.task.pairs("discriminator", batch).items()}
    for name, fake in fakes.items():  # the first ones are both judged and kept, each way in a pool of its own
        assert torch.equal(state.tensors()[f"discriminator.{name}_pool.images"][:4], fake)
    assert not torch.equal(fakes["image"], fakes["back"])


# ---------------------------------------------------------------------------------------------------- the recipe


class Bare(torch.nn.Module):
    """A network that translates, but says nothing of tiles and has no maps to contrast."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = torch.nn.Conv2d(config.source, config.channels, 1)


class Tiled(Bare):
    multiple, reach = 1, 0


@pytest.mark.parametrize(
    ("task", "preset", "network", "words"),
    [
        (Paired, "pix2pix", "Bare", "Bare has no multiple and no reach"),
        (Unpaired, "cut", "Bare", "Bare has no multiple and no reach"),
        (Unpaired, "cut", "Tiled", "Tiled has no encode and no decode"),
    ],
)
def test_a_network_lacks_what_the_task_needs(task: type[Task], preset: str, network: str, words: str) -> None:
    config = make_config(preset, "unpaired" if task is Unpaired else "paired")
    spec = replace(config.generator, network=f"{__name__}:{network}")
    with pytest.raises(UserError, match=words):
        task(config.replace(generator=spec))


@pytest.mark.parametrize(
    ("preset", "task", "words"),
    [
        ("cut", "paired", "the preset cut translates; say --task unpaired or style"),
        ("pix2pix", "generate", "the preset pix2pix translates; say --task paired"),
    ],
)
def test_a_preset_of_another_task(preset: str, task: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_config(preset, task)


def test_a_misspelt_weight_is_told() -> None:
    with pytest.raises(UserError, match=r"weights\.l2.*l1"):
        Paired(make_config("pix2pix", "paired", l2=1.0))


def test_networks_that_generate_cannot_translate(halves: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(halves), "--task", "paired", "--preset", "article-mnist", "--budget", "2steps"]) == 2
    assert "choose another --preset" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------- a run


def train(data: Path, out: Path, *words: str) -> Path:
    shared = ["--budget", "4steps", "--precision", "fp32", "--threads", "1", "--out", str(out), "--name", "run"]
    assert main(["train", str(data), *shared, *WORDS, *words]) == 0
    return out / "run"


def test_a_paired_run(halves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(halves, tmp_path, "--task", "paired")
    sizes = set()
    for name in ("reals", "sources", "fakes-00000032"):
        with Image.open(run / f"{name}.png") as image:
            sizes.add(image.size)
    assert len(sizes) == 1
    assert open_run(run).plan.translates
    capsys.readouterr()
    assert main(["evaluate", str(run), "--features", "random", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    data = ganvas.open_dataset(str(halves), task="paired")
    assert data.source is not None
    rows, partners = data.rows["test"], data.source.rows["test"]
    expected = np.abs(data.source.images[partners].astype(float) - data.images[rows]).mean() / 255
    assert found["l1"]["source"] == pytest.approx(expected, rel=1e-5)
    assert found["l1"]["value"] < found["l1"]["ceiling"]
    assert found["l1"]["n"] == len(rows)
    assert {"psnr", "ssim", "kernel"} <= set(found)
    assert found["kernel"]["source"] is not None
    page = (run / "report.html").read_text()
    assert "Source, untouched" in page
    assert "ganvas translate" in page
    assert "ganvas generate" not in page
    assert main(["generate", str(run)]) == 2
    assert "ganvas translate" in capsys.readouterr().err


@pytest.mark.parametrize("preset", ["auto", "cyclegan"])
def test_an_unpaired_run(kinds: Path, tmp_path: Path, preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(kinds, tmp_path, "--task", "unpaired", "--preset", preset)
    again = train(kinds, tmp_path, "--task", "unpaired", "--preset", preset)
    assert run == again
    assert "is finished" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--features", "random", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["content"]["source"] == pytest.approx(1, abs=1e-4)
    assert 0 < found["content"]["value"] < 1
    (run / "model.safetensors").rename(tmp_path / "alone.safetensors")
    capsys.readouterr()
    words = ["--data", str(kinds), "--features", "random", "--json"]
    assert main(["evaluate", str(tmp_path / "alone.safetensors"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["content"]["value"] == pytest.approx(found["content"]["value"], rel=1e-3)
    assert "l1" not in found


def test_few_sources_are_measured_though_none_is_held_out(
    kinds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted((kinds / "trainA").iterdir())[:5]:
        (few / path.name).write_bytes(path.read_bytes())
    run = train(few, tmp_path, str(kinds / "trainB"), "--task", "unpaired", "--augment", "yes", "--budget", "9steps")
    assert "from the training data" in (run / "report.html").read_text()
    capsys.readouterr()
    assert main(["evaluate", str(run), "--features", "random", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["content"]["n"] == 5
    assert found["content"]["split"] == found["kernel"]["split"] == "train"
    assert main(["evaluate", str(run), "--features", "random"]) == 0
    assert "none held out" in capsys.readouterr().err


def test_other_data_may_have_other_channels(halves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(halves, tmp_path, "--task", "paired")
    grey = tmp_path / "grey"
    grey.mkdir()
    for path in halves.iterdir():
        with Image.open(path) as image:
            left = image.convert("L").convert("RGB")
            left.paste(image.crop((SIDE, 0, 2 * SIDE, SIDE)), (SIDE, 0))
            left.save(grey / path.name)
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data", str(grey), "--features", "random", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["l1"]["value"] > 0


def test_a_style_is_learned_from_one_painting(kinds: Path, tmp_path: Path) -> None:
    (tmp_path / "paintings").mkdir()
    noise = np.random.default_rng(3).integers(0, 256, (70, 90, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "paintings" / "one.png")
    run = train(kinds / "trainA", tmp_path, str(tmp_path / "paintings"), "--task", "style")
    plan = open_run(run).plan
    assert plan.data["images"]["train"] > 1000
    assert plan.config.generator.settings["width"] == SIDE
    assert plan.data["target"] == str((tmp_path / "paintings").resolve())
