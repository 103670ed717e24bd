import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

from ganvas.config import NetworkConfig
from ganvas.errors import UserError
from ganvas.modelfile import find_model, load_networks, save_model
from ganvas.models import build_network


@dataclass(frozen=True)
class ToyConfig:
    z_dim: int = 3
    width: int = 4
    blocks: int = 1
    hidden: int = 1


class Toy(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks = nn.Sequential(*(nn.Linear(config.z_dim, config.width) for _ in range(config.blocks)))
        self.norm = nn.BatchNorm1d(config.width)
        self.register_buffer("table", torch.ones(config.hidden, dtype=torch.uint8), persistent=False)


def header(**changes) -> dict:
    networks = {"generator": {"network": f"{__name__}:Toy", "settings": {}}}
    return {"format": 1, "version": "0.1.0", "networks": networks, "about": {}} | changes


def asks_for(network: str, **settings) -> dict:
    return header(networks={"generator": {"network": network, "settings": settings}})


def write(path: Path, ganvas: object, **changes: torch.Tensor | None) -> Path:
    tensors = {f"generator.{key}": t for key, t in Toy(ToyConfig()).state_dict().items()} | changes
    text = ganvas if isinstance(ganvas, str) else json.dumps(ganvas)
    kept = {key: t for key, t in tensors.items() if t is not None}
    safetensors.torch.save_file(kept, path, {"ganvas": text})
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def save(path: Path) -> Toy:
    torch.manual_seed(0)
    toy = Toy(ToyConfig(width=5))
    toy.norm.num_batches_tracked += 7
    toy.norm.running_mean += 0.5
    save_model(path, {"generator": toy}, {"generator": NetworkConfig(f"{__name__}:Toy", {"width": 5})}, images=9)
    return toy


def test_what_is_saved_is_loaded_with_buffers_in_eval_mode(path):
    toy = save(path)
    before = torch.get_rng_state()
    networks, about = load_networks(path)
    assert torch.equal(before, torch.get_rng_state())
    assert about == {"images": 9}
    assert not networks["generator"].training
    assert networks["generator"].config == ToyConfig(width=5)
    for key, tensor in networks["generator"].state_dict().items():
        assert torch.equal(tensor, toy.state_dict()[key])
        assert tensor.dtype == toy.state_dict()[key].dtype
    assert networks["generator"].norm.num_batches_tracked == 7


def test_equal_input_gives_equal_bytes_and_plain_names(path, tmp_path):
    save(path)
    save(tmp_path / "again.safetensors")
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    with safe_open(path, framework="pt") as file:
        assert "generator.blocks.0.weight" in file.keys()  # noqa: SIM118
        assert json.loads(file.metadata()["ganvas"])["format"] == 1


def test_tied_weights_can_be_saved(path):
    toy = Toy(ToyConfig(z_dim=4, blocks=2))
    toy.blocks[1].weight = toy.blocks[0].weight
    settings = {"z_dim": 4, "blocks": 2}
    save_model(path, {"generator": toy}, {"generator": NetworkConfig(f"{__name__}:Toy", settings)})
    assert torch.equal(load_networks(path)[0]["generator"].blocks[1].weight, toy.blocks[0].weight)


def test_names_must_agree(path):
    with pytest.raises(ValueError, match="differ"):
        save_model(path, {"generator": Toy(ToyConfig())}, {})
    assert not path.exists()


HEADERS = {
    "no JSON": "{",
    "JSON of another kind": "[1]",
    "deep JSON": "[" * 100_000,
    "no networks": header(networks={}),
    "networks as a list": header(networks=[1]),
    "a network as text": header(networks={"generator": "x"}),
    "settings as a list": header(networks={"generator": {"network": "x:Y", "settings": [1]}}),
    "about as a list": header(about=[]),
    "an older format": header(format=0),
    "a format in words": header(format="one"),
    "no such module": asks_for("nothing:Toy"),
    "a function": asks_for("os:system"),
    "an empty name": asks_for(""),
    "a strange name": asks_for("..:\0"),
    "a relative name": asks_for(".r3gan:Generator"),
    "a network without config": asks_for("torch.nn:Linear"),
    "no such class": asks_for(f"{__name__}:Toys"),
    "no such setting": asks_for(f"{__name__}:Toy", colour=1),
    "a setting of another type": asks_for(f"{__name__}:Toy", width="wide"),
    "a monstrous width": asks_for(f"{__name__}:Toy", width=10**9, z_dim=10**9),
    "an impossible width": asks_for(f"{__name__}:Toy", width=10**30),
    "a negative width": asks_for(f"{__name__}:Toy", width=-1),
    "endless blocks": asks_for(f"{__name__}:Toy", blocks=10**9),
    "monstrous widths": asks_for("r3gan:Generator", channels=1, width=8, height=8, widths=[999_999_999_989], plain=0),
    "a monstrous hidden buffer": asks_for(f"{__name__}:Toy", hidden=10**11),
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS.keys())
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_hostile_headers_end_in_one_sentence_that_names_the_file(path, text):
    write(path, text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as error:
        load_networks(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18


def test_a_newer_format_asks_for_a_newer_ganvas(path):
    with pytest.raises(UserError, match=r"written by a newer ganvas \(9\.1\)"):
        load_networks(write(path, header(format=2, version="9.1")))


CHANGES = {
    "missing": {"generator.norm.bias": None},
    "unexpected": {"generator.extra": torch.zeros(1)},
    r"is torch.float32 \[3, 3\] and should be torch.float32 \[4, 3\]": {"generator.blocks.0.weight": torch.zeros(3, 3)},
    "is torch.float16": {"generator.norm.bias": torch.zeros(4, dtype=torch.float16)},
}


@pytest.mark.parametrize("match", CHANGES)
def test_tensors_must_fit(path, match):
    with pytest.raises(UserError, match=match):
        load_networks(write(path, header(), **CHANGES[match]))


def test_damaged_files(path, tmp_path):
    save(path)
    data = path.read_bytes()
    for cut in (0, 4, 100, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(UserError, match="damaged, or no model file"):
            load_networks(path)
    path.write_bytes((2**60).to_bytes(8, "little") + data[8:])
    with pytest.raises(UserError, match="damaged"):
        load_networks(path)
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not made by ganvas"):
        load_networks(path)
    with pytest.raises(UserError, match="no such file"):
        load_networks(tmp_path / "none")


def test_foreign_code_runs_only_with_trust(path, tmp_path, monkeypatch):
    (tmp_path / "foreign_nets.py").write_text(
        f"from pathlib import Path\nPath(__file__).with_name('ran').touch()\nfrom {__name__} import Toy\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    write(path, asks_for("foreign_nets:Toy"))
    with pytest.raises(UserError, match="asks for code from foreign_nets:Toy; allow it with --trust"):
        load_networks(path)
    assert not (tmp_path / "ran").exists()
    assert set(load_networks(path, trust=True)[0]) == {"generator"}
    assert (tmp_path / "ran").exists()
    assert set(load_networks(path)[0]) == {"generator"}  # imported by now, so nothing new would run
    monkeypatch.delitem(sys.modules, "foreign_nets")


def test_a_full_disk_leaves_the_old_model(path):
    save(path)
    before = path.read_bytes()
    script = (
        "import resource, signal, sys; from pathlib import Path; from ganvas.files import atomic_write\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (999, 999))\n"
        "try: atomic_write(Path(sys.argv[1]), bytes(5000))\n"
        "except OSError: sys.exit(7)"
    )
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == 7
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_find_model(tmp_path):
    run = tmp_path / "001-digits"
    run.mkdir()
    with pytest.raises(UserError, match="has no finished model yet"):
        find_model(run)
    (run / "model.safetensors").touch()
    assert find_model(run) == find_model(run, "last") == run / "model.safetensors"
    with pytest.raises(UserError, match="has no best weights"):
        find_model(run, "best")
    (run / "best.safetensors").touch()
    assert find_model(run) == run / "best.safetensors"
    assert find_model(run, "last") == run / "model.safetensors"
    assert find_model(run / "model.safetensors") == run / "model.safetensors"
    with pytest.raises(UserError, match="is one file"):
        find_model(run / "model.safetensors", "best")
    with pytest.raises(UserError, match="did you mean '001-digits'"):
        find_model(tmp_path / "001-digts")
    with pytest.raises(UserError, match="there is no run or model"):
        find_model(tmp_path / "no" / "where")
    for path in (tmp_path / "file" / "x", Path("/dev/null")):
        with pytest.raises(UserError, match="there is no run or model"):
            find_model(path)


def test_find_model_names_few_neighbours(tmp_path):
    for index in range(40):
        (tmp_path / f"{index:03d}-digits").mkdir()
    with pytest.raises(UserError) as caught:
        find_model(tmp_path / "zzzzzz")
    assert str(caught.value).count("-digits") == 5
    with pytest.raises(UserError, match="did you mean '007-digits'"):
        find_model(tmp_path / "007-digts")


def test_find_model_says_what_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / ("a" * 300), tmp_path / "a\0b", tmp_path / "loop"):
        with pytest.raises(UserError, match="cannot read"):
            find_model(path)

    def refuse(path: Path, **_) -> None:  # tests may run as root, whom no permission keeps out
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(UserError, match=r"cannot read .*run: Permission denied"):
        find_model(tmp_path / "run")


def test_a_locked_model_is_not_called_damaged(path, monkeypatch):
    save(path)

    def refuse(path: Path, *_, **__) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"it cannot be read \(Permission denied\)"):
        load_networks(path)


def test_loading_does_not_import_the_compiler(tmp_path):  # which takes seconds
    shape = {"channels": 4, "width": 16, "height": 16}
    specs = {
        "r3gan": NetworkConfig("r3gan:Generator", {**shape, "widths": (8, 4), "classes": 2}),
        "article": NetworkConfig("articles:DenseGenerator", {"channels": 1, "width": 28, "height": 28}),
        "translation": NetworkConfig("translation:Generator", {**shape, "source": 3, "widths": (8, 4)}),
        "projector": NetworkConfig("translation:Projector", {"inputs": (3, 4)}),
    }
    save_model(tmp_path / "all", {name: build_network(spec) for name, spec in specs.items()}, specs)
    code = "import sys; from ganvas.modelfile import load_networks; load_networks(sys.argv[1])"
    script = f"{code}; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script, tmp_path / "all"], check=False).returncode == 0
