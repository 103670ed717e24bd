import builtins
import hashlib
import importlib
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import nn

from ganvas import sample
from ganvas.config import NetworkConfig
from ganvas.errors import UserError
from ganvas.modelfile import save_model
from ganvas.pictures import GAP
from ganvas.sample import Model, generate, interpolate, latent, load, pick_device, render, walk


@dataclass(frozen=True)
class ToyConfig:
    channels: int = 3
    width: int = 6
    height: int = 5
    z_dim: int = 7


class Toy(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        pixels = config.channels * config.height * config.width
        self.layers = nn.Sequential(nn.Linear(config.z_dim, 33), nn.SiLU(), nn.Linear(33, pixels), nn.Sigmoid())

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        config = self.config
        return self.layers(z).unflatten(1, (config.channels, config.height, config.width)) * 2 - 1


def toy(**settings: int) -> Model:
    torch.manual_seed(1)
    return Model({"generator": Toy(ToyConfig(**settings)).eval()})


def save(path: Path, **settings: int) -> Path:
    spec = NetworkConfig(f"{__name__}:Toy", settings)
    save_model(path, {"generator": toy(**settings).generator}, {"generator": spec}, images=5)
    return path


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
    with pytest.raises(UserError, match="no generator that draws from noise"):
        render(Model({"generator": nn.Linear(1, 1)}), seeds=[1])
    model = toy()
    model.generator.layers[0].weight.data.fill_(float("nan"))
    with pytest.raises(UserError, match="not finite"):
        model.generate()
    model.generator.train()
    with pytest.raises(ValueError, match="eval mode"):
        model.generate()


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


# --------------------------------------------------------------------------------------------------- commands


def test_generate_writes_pictures_grid_and_manifest(run, capsys):
    folder = generate(str(run), n=5, device="cpu")
    assert folder == run / "generated"
    names = [f"seed{seed:06d}.png" for seed in range(5)]
    assert sorted(p.name for p in folder.iterdir()) == ["grid.png", "manifest.json", *names]
    with Image.open(folder / "seed000003.png") as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), load(run).generate(seed=3)[0])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    assert manifest["options"]["n"] == 5
    assert manifest["pictures"] == [{"file": name, "seed": seed} for seed, name in enumerate(names)]
    said = capsys.readouterr().err
    assert said.strip() == f"5 pictures and their grid.png are in {folder}"


def test_generate_into_a_folder_with_seeds_grid_and_truncation(run, tmp_path, capsys):
    out = tmp_path / "a" / "b"
    out.mkdir(parents=True)
    (out / "mine.txt").write_text("mine")
    model = str(run / "model.safetensors")
    generate(model, out=str(out), seeds="3,7,20-21,3", n=-1, grid="3x2", truncation=0.5)
    names = [f"seed{seed:06d}.png" for seed in (3, 7, 20, 21)]
    assert sorted(p.name for p in out.iterdir()) == ["grid.png", "manifest.json", "mine.txt", *names]
    with Image.open(out / "grid.png") as grid:
        assert grid.size == (3 * 66 + 2 * GAP, 2 * 55 + GAP)
        assert grid.getpixel((3 * 66, 2 * 55)) == (255, 255, 255)
    assert "scaled by the truncation 0.5" in capsys.readouterr().err
    generate(model, out=str(out), n=5, grid="2x1")
    with Image.open(out / "grid.png") as grid:
        assert grid.size == (2 * 66 + GAP, 55)


def test_generate_with_transparency_writes_straight_rgba(tmp_path):
    save(tmp_path / "m.safetensors", channels=4)
    folder = generate(str(tmp_path / "m.safetensors"), n=1)
    with Image.open(folder / "seed000000.png") as image:
        assert image.mode == "RGBA"
        assert np.array_equal(np.asarray(image), load(tmp_path / "m.safetensors").generate()[0])


def test_ctrl_c_leaves_whole_pictures_and_no_manifest(run, monkeypatch):
    folder = generate(str(run), n=2)
    real = Image.Image.save
    saved = itertools.count()

    def interrupted(image: Image.Image, file, **how) -> None:
        if next(saved) == 5:
            file.write(b"half")
            raise KeyboardInterrupt
        real(image, file, **how)

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(str(run), n=100)
    files = sorted(p.name for p in folder.iterdir())
    assert files == ["grid.png", *(f"seed{seed:06d}.png" for seed in range(5))]
    for name in files:
        with Image.open(folder / name) as image:
            image.load()


def test_generate_says_what_is_wrong(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot draw 0 pictures"):
        generate(str(run), n=0)
    with pytest.raises(UserError, match="names no seeds"):
        generate(str(run), seeds="a")
    with pytest.raises(UserError, match="is no grid"):
        generate(str(run), grid="0x2")
    with pytest.raises(UserError, match="ask for a smaller one"):
        generate(str(run), grid="9999x9999")
    with pytest.raises(UserError, match="truncation cannot be"):
        generate(str(run), truncation=-1)
    with pytest.raises(UserError, match="cannot write"):
        generate(str(run), out=str(tmp_path / "file"))
    assert not (run / "generated").exists()


@pytest.mark.parametrize("made", [False, True])
def test_a_full_disk_leaves_no_empty_folder(run, tmp_path, monkeypatch, made):
    def full(*_, **__) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    if made:
        (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match="No space left"):
        generate(str(run), n=1, out=str(tmp_path / "new" / "deep"))
    with pytest.raises(UserError, match="No space left"):
        interpolate(str(run), out=str(tmp_path / "new" / "deep" / "walk.gif"), seeds="0,1", frames=1)
    assert not (tmp_path / "new" / "deep").exists()
    assert (tmp_path / "new").exists() == made


def test_a_broken_model_touches_no_folder(run):
    folder = generate(str(run), n=1)
    broken = toy()
    broken.generator.layers[0].weight.data.fill_(float("nan"))
    save_model(
        run / "best.safetensors",
        {"generator": broken.generator},
        {"generator": NetworkConfig(f"{__name__}:Toy", {})},
    )
    with pytest.raises(UserError, match="not finite"):
        generate(str(run), n=1)
    assert (folder / "manifest.json").exists()
    with pytest.raises(UserError, match="not finite"):
        generate(str(run), n=1, out=str(run / "new"))
    assert not (run / "new").exists()


# ------------------------------------------------------------------------------------------------------ walks


def knots(n: int, z_dim: int = 64) -> np.ndarray:
    return np.stack([latent(seed, z_dim).double().numpy() for seed in range(n)])


def test_a_walk_passes_through_each_point_exactly_and_stays_far_out():
    points, stops = walk(knots(5), 12), knots(5)
    assert points.shape == (60, 64)
    assert np.array_equal(points[::12], stops)
    radii, rims = np.linalg.norm(points, axis=1), np.linalg.norm(stops, axis=1)
    assert rims.min() - 1e-9 <= radii.min()
    assert radii.max() <= rims.max() + 1e-9


def test_a_walk_neither_stops_nor_jerks():
    points = walk(knots(6), 50)
    steps = np.roll(points, -1, 0) - points
    pace = np.linalg.norm(steps, axis=1)
    assert pace.max() / pace.min() < 1.5
    cosines = (steps * np.roll(steps, -1, 0)).sum(1) / pace / np.roll(pace, -1)
    turns = np.arccos(cosines)
    assert turns.max() < 2.5 * turns.mean()  # a corner, also where it closes, would be twenty times the mean


@pytest.mark.parametrize("z_dim", [1, 2, 64])
def test_two_points_are_swung_between_without_a_bump(z_dim):
    points = walk(knots(2, z_dim), 40)
    assert np.isfinite(points).all()
    pace = np.linalg.norm(np.roll(points, -1, 0) - points, axis=1)
    assert pace[[0, 39, 40, 79]].max() < 0.2 * pace.max()
    assert np.abs(np.diff(pace)).max() < 0.35 * pace.max()


def test_the_gif_is_enlarged_closed_and_repeats(run, tmp_path, capsys):
    path = interpolate(str(run), out=str(tmp_path / "new" / "walk.gif"), seeds="0-2,0", frames=4, fps=20)
    with Image.open(path) as film:
        assert film.size == (132, 110)
        assert film.info["loop"] == 0
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
        assert film.info["duration"] == 50
    assert len(frames) == 12
    for index in range(3):
        knot = load(run).generate(seed=index)[0]
        assert np.abs(frames[4 * index][::22, ::22].astype(int) - knot).max() <= 1
    assert f"the round walk through 3 pictures is in {path}" in capsys.readouterr().err


def test_walks_side_by_side_pass_through_other_seeds(run, tmp_path):
    path = interpolate(str(run), out=str(tmp_path / "walk.png"), seeds="4,6", frames=3, grid="2x1")
    with Image.open(path) as image:
        strip = np.asarray(image).astype(int)
    cell = 2 * 66 + GAP
    assert strip.shape == (2 * 55 + GAP, 3 * cell + 2 * GAP, 3)
    for row, seed in enumerate((4, 6)):
        for column, offset in enumerate((0, 3)):
            corner = strip[row * (55 + GAP) :, column * (66 + GAP) :][:55:11, :66:11]
            assert np.abs(corner - load(run).generate(seed=seed + offset)[0]).max() <= 1


def test_the_mp4_needs_its_package(run, tmp_path, monkeypatch):
    path = tmp_path / "walk.mp4"
    interpolate(str(run), out=str(path), seeds="0,1", frames=2)
    assert path.stat().st_size > 0
    real = builtins.__import__
    monkeypatch.delitem(sys.modules, "av")

    def without_av(name: str, *rest):
        if name == "av":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(UserError, match=r"pip install 'ganvas\[video\]'"):
        interpolate(str(run), out=str(path))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"seeds": "5"}, "at least 2 different seeds"),
        ({"seeds": "5,5"}, "at least 2 different seeds"),
        ({"out": "walk.webm"}, r"must end in \.gif, \.mp4 or \.png"),
        ({"out": "walk"}, r"must end in \.gif, \.mp4 or \.png"),
        ({"frames": 0}, "there is at least 1"),
        ({"frames": 1_000_000_000}, "would have 8,000,000,000 pictures"),
        ({"frames": 20_000, "grid": "7x1"}, "would have 1,120,000 pictures"),
        ({"fps": 60}, "60 frames a second"),
        ({"fps": 0}, "0 frames a second"),
        ({"grid": "x"}, "is no grid"),
        ({"grid": "99999x99999"}, "ask for a smaller one"),
        ({"truncation": float("nan")}, "truncation cannot be"),
        ({"out": "file/walk.gif"}, "cannot write"),
    ],
)
def test_interpolate_says_what_is_wrong(run, tmp_path, monkeypatch, options, match):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(UserError, match=match):
        interpolate(str(run), **options)
