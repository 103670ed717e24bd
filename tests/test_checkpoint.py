"""Exact resumption, and what is left after damage and full disks."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ganvas import checkpoint, files
from ganvas.config import Config, NetworkConfig, ObjectiveConfig
from ganvas.errors import UserError
from ganvas.state import State
from ganvas.training import step

CPU = torch.device("cpu")


@dataclass(frozen=True)
class NetSettings:
    z_dim: int = 3


class Gen(nn.Module):
    """With batch norm, integer buffers, and kernels that are stored channels_last."""

    def __init__(self, config: NetSettings) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear(config.z_dim, 3 * 4 * 4)
        self.norm = nn.BatchNorm2d(3)
        self.to_image = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        return self.to_image(self.norm(self.project(z).view(-1, 3, 4, 4)).relu())


class Disc(nn.Module):
    """With dropout."""

    def __init__(self, config: NetSettings) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.LeakyReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(3 * 2 * 2, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).squeeze(1)


class TiedDisc(Disc):
    """With a layer under two names."""

    def __init__(self, config: NetSettings) -> None:
        super().__init__(config)
        self.first = self.layers[0]


def loaded(folder, state):
    """Load, and return the file that it came from, or None."""
    if not checkpoint.load(folder, state):
        return None
    return next(path for path in checkpoint.found(folder) if int(path.name.split("-")[0]) == state.step)


def make_state(disc: str = "Disc") -> State:
    config = Config(
        generator=NetworkConfig(f"{__name__}:Gen", {}),
        discriminator=NetworkConfig(f"{__name__}:{disc}", {}),
        objective=ObjectiveConfig("hinge", ("r1",), gamma=0.1),
        batch=4,
        ema_kimg=0.02,
    )
    return State(config, CPU)


def train(state: State, steps: int) -> State:
    for _ in range(steps):
        random = torch.Generator().manual_seed(state.step)
        step(state, {"image": torch.rand(4, 2, 4, 4, generator=random) * 2 - 1}, 1.0, "fp32")
    return state


def differing(a: State, b: State) -> list[str]:
    """Return the names of the tensors that are not equal bit for bit."""
    mine, theirs = a.tensors(), b.tensors()
    assert mine.keys() == theirs.keys()
    return [
        name
        for name in mine
        if mine[name].dtype != theirs[name].dtype
        or mine[name].shape != theirs[name].shape
        or not torch.equal(mine[name], theirs[name])
    ]


def numbers(state: State) -> tuple[int, int, int]:
    return state.step, state.skipped, state.skipped_in_a_row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint"


@pytest.fixture
def two(folder: Path) -> tuple[Path, Path]:
    """Checkpoints of steps 1 and 2."""
    state = make_state()
    return checkpoint.save(folder, train(state, 1)), checkpoint.save(folder, train(state, 1))


# --------------------------------------------------------------------------------------------------- save, load


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(folder):
    state = train(make_state(), 3)
    state.skipped, state.skipped_in_a_row = 5, 2
    path = checkpoint.save(folder, state)
    again = make_state()
    assert differing(state, train(make_state(), 2))  # there is something to restore
    assert loaded(folder, again) == path
    assert differing(state, again) == []
    assert numbers(again) == (3, 5, 2)
    train(state, 3)
    train(again, 3)
    assert any(name.startswith("adam.exp_avg_sq.generator") for name in state.tensors())
    assert any(name.startswith("average.") and name.endswith("running_var") for name in state.tensors())
    assert differing(state, again) == []
    assert numbers(state) == numbers(again) == (6, 5, 0)


def test_loading_over_a_used_state_restores_it(folder):
    state = train(make_state(), 1)
    checkpoint.save(folder, state)
    used = train(make_state(), 4)
    loaded(folder, used)
    assert differing(state, used) == []
    assert differing(train(state, 2), train(used, 2)) == []


def test_the_first_checkpoint_is_before_the_first_step(folder):
    state = make_state()
    checkpoint.save(folder, state)
    again = train(make_state(), 1)
    fresh = make_state()
    loaded(folder, fresh)
    assert fresh.step == 0
    assert differing(train(fresh, 1), again) == []


def test_saving_changes_nothing(folder):
    state = train(make_state(), 2)
    before = {name: value.clone() for name, value in state.tensors().items()}
    path = checkpoint.save(folder, state)
    assert all(torch.equal(before[name], value) for name, value in state.tensors().items())
    data = path.read_bytes()
    assert checkpoint.save(folder, state) == path
    assert path.read_bytes() == data
    assert checkpoint.found(folder) == [path]


def test_an_empty_or_missing_folder_has_no_checkpoint(folder):
    state = make_state()
    assert loaded(folder, state) is None
    folder.mkdir()
    assert loaded(folder, state) is None
    assert checkpoint.last_step(folder) == 0
    assert differing(state, make_state()) == []


def test_only_the_last_two_are_kept(folder):
    state, paths = make_state(), []
    for _ in range(4):
        paths.append(checkpoint.save(folder, train(state, 1)))
        (folder / "notes.txt").write_text("mine")
    assert checkpoint.found(folder) == [paths[3], paths[2]]
    assert sorted(p.name for p in folder.iterdir()) == sorted([paths[2].name, paths[3].name, "notes.txt"])
    assert checkpoint.last_step(folder) == 4


def test_the_newest_is_that_of_the_most_steps(folder):
    state = make_state()
    for number in (9, 10, 100):
        state.step = number
        checkpoint.save(folder, state)
        assert checkpoint.last_step(folder) == number


def test_networks_with_tied_weights_can_be_saved(folder):
    state = train(make_state("TiedDisc"), 1)
    checkpoint.save(folder, state)
    again = make_state("TiedDisc")
    loaded(folder, again)
    assert differing(train(state, 1), train(again, 1)) == []


# ------------------------------------------------------------------------------------------------------ damage


def truncated(data: bytes) -> bytes:
    return data[:-1]


def header_only(data: bytes) -> bytes:
    return data[:100]


def empty(data: bytes) -> bytes:
    return b""


def one_bit(data: bytes) -> bytes:
    middle = len(data) * 3 // 4
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def zeros(data: bytes) -> bytes:
    return bytes(len(data))


def longer(data: bytes) -> bytes:
    return data + b"\0"


every_damage = pytest.mark.parametrize("damage", [truncated, header_only, empty, one_bit, zeros, longer])


@every_damage
def test_the_one_before_stands_in_for_a_damaged_one(damage, folder, two, capsys):
    old, new = two
    new.write_bytes(damage(new.read_bytes()))
    state = make_state()
    assert loaded(folder, state) == old
    assert state.step == 1
    assert differing(state, train(make_state(), 1)) == []
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{new} is damaged" in said
    assert "going back to the one before" in said


@every_damage
def test_nothing_is_guessed_where_all_are_damaged(damage, folder, two, capsys):
    for path in two:
        path.write_bytes(damage(path.read_bytes()))
    state = make_state()
    with pytest.raises(UserError, match=r"no checkpoint in .* is sound; start again with --new"):
        loaded(folder, state)
    assert differing(state, make_state()) == []
    assert state.step == 0
    assert capsys.readouterr().err.count("is damaged") == 2


def test_a_sound_one_is_used_in_silence(folder, two, capsys):
    assert loaded(folder, make_state()) == two[1]
    assert capsys.readouterr().err == ""


def test_training_repeats_what_was_damaged_and_mends_it(folder, two):
    new = two[1]
    whole = new.read_bytes()
    new.write_bytes(truncated(whole))
    state = make_state()
    loaded(folder, state)
    assert checkpoint.save(folder, train(state, 1)) == new
    assert new.read_bytes() == whole


def test_two_sound_ones_are_kept_beside_a_damaged_one(folder, two):
    state = make_state()
    state.step = 50
    future = checkpoint.save(folder, state)
    future.write_bytes(b"")
    state = make_state()
    loaded(folder, state)
    for _ in range(2):
        checkpoint.save(folder, train(state, 1))
    sound = [path for path in checkpoint.found(folder) if path != future]
    assert len(sound) == 2


def test_the_one_before_stands_in_for_an_unreadable_one(folder, two):
    two[1].unlink()
    two[1].mkdir()  # reading it raises an OSError, as a bad disk does
    assert loaded(folder, make_state()) == two[0]


def test_other_files_in_the_folder_are_passed_over(folder, two):
    (folder / "my-copy.safetensors").write_bytes(two[0].read_bytes())
    assert checkpoint.last_step(folder) == 2


# --------------------------------------------------------------------------------------------------- full disk


class FullDisk:
    """A file on which only some bytes fit."""

    def __init__(self, file, room: int) -> None:
        self.file, self.room = file, room

    def __enter__(self):
        self.file.__enter__()
        return self

    def __exit__(self, *about):
        return self.file.__exit__(*about)

    def write(self, data: bytes) -> int:
        self.file.write(data[: self.room])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_costs_no_older_checkpoint(folder, two, monkeypatch):
    state = make_state()
    loaded(folder, state)
    train(state, 1)
    real = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "open", lambda path, *args, **kwargs: FullDisk(real(path, *args, **kwargs), 1000))
        with pytest.raises(UserError, match=r"could not save .*: No space left on device; the checkpoints before"):
            checkpoint.save(folder, state)
    assert sorted(folder.iterdir()) == sorted(two)
    again = make_state()
    assert loaded(folder, again) == two[1]
    assert differing(again, train(make_state(), 2)) == []
    assert checkpoint.last_step(checkpoint.save(folder, state).parent) == 3  # room again


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_late_costs_no_older_checkpoint(call, folder, two, monkeypatch):
    def fail(*args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(files.os if call == "fsync" else files.Path, call, fail)
        state = make_state()
        loaded(folder, state)
        with pytest.raises(UserError, match="could not save"):
            checkpoint.save(folder, train(state, 1))
    assert sorted(folder.iterdir()) == sorted(two)


def test_a_folder_that_cannot_be_is_told_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not save"):
        checkpoint.save(tmp_path / "file" / "checkpoint", make_state())


def test_a_file_that_does_not_fit_costs_no_older_checkpoint(folder, two):
    resource = pytest.importorskip("resource")  # not on Windows
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    state = make_state()
    loaded(folder, state)
    train(state, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(UserError, match="could not save"):
            checkpoint.save(folder, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(folder.iterdir()) == sorted(two)
    again = make_state()
    assert loaded(folder, again) == two[1]
    assert differing(again, train(make_state(), 2)) == []
