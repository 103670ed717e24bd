import io
import json
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import webdataset
from PIL import Image

from ganvas import UserError, cli, open_dataset
from ganvas.data import named, packing, shards
from ganvas.data.packing import pack

Paint = Callable[..., Path]

leaves_files_open = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
"""As webdataset's reader does."""


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    """What lies at memory:// goes with the test."""
    yield
    fsspec.filesystem("memory").rm("/", recursive=True)


def members(out: Path, part: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path in sorted(out.glob(f"{part}*.tar")):
        with tarfile.open(path) as archive:
            new = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        assert not found.keys() & new.keys()
        found |= new
    return found


def test_the_files_themselves_are_packed(folder: Path, tmp_path: Path) -> None:
    data, out = open_dataset(str(folder)), tmp_path / "out"
    assert pack(folder, out=out) == str(out)
    assert sorted(path.name for path in out.iterdir()) == [
        "index.json",
        "index.npz",
        "test-000000.tar",
        "train-000000.tar",
        "val-000000.tar",
    ]
    for part, rows in data.rows.items():
        found = members(out, part)
        assert len(found) == 2 * len(rows)
        for row in rows:
            assert found[data.names[row]] == (folder / data.names[row]).read_bytes()
            assert data.labels is not None
            assert found[data.names[row].replace(".png", ".cls")] == b"%d" % data.labels[row]
        names = list(found)[::2]
        assert names != sorted(names) or len(names) < 4  # in random order


@pytest.mark.parametrize("stream", ["no", "yes"])
def test_what_is_packed_is_read_as_it_was(folder: Path, tmp_path: Path, stream: str) -> None:
    pack(folder, out=tmp_path / "out")
    before, after = open_dataset(str(folder)), open_dataset(str(tmp_path / "out"), stream=stream)
    assert after.classes == ("cat", "dog")
    for part, rows in before.rows.items():
        place = {f"{part}/{before.names[row]}": row for row in rows}
        assert {after.names[row] for row in after.rows[part]} == place.keys()
        mine = after.rows[part]
        theirs = [place[after.names[row]] for row in mine]
        assert (after.images[mine] == before.images[theirs]).all()
        assert after.labels is not None
        assert before.labels is not None
        assert (after.labels[mine] == before.labels[theirs]).all()


@leaves_files_open
def test_webdataset_reads_it(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(folder, out=out, shard_mb=0.02)
    facts = json.loads((out / "index.json").read_text())
    urls = [str(out / shard["url"]) for shard in facts["shardlist"] if shard["split"] == "train"]
    found = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8").to_tuple("__key__", "png", "cls"))
    data = open_dataset(str(folder))
    assert len(found) == len(data.rows["train"])
    for key, picture, label in found:
        row = data.names.index(f"{key}.png")
        assert (picture == data.images[row]).all()
        assert data.labels is not None
        assert label == data.labels[row]


def test_index(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(folder, out=out, shard_mb=0.02)
    facts = json.loads((out / "index.json").read_text())
    assert (facts["__kind__"], facts["wids_version"], facts["name"]) == ("wids-shard-index-v1", 1, "pets")
    for shard in facts["shardlist"]:
        raw = (out / shard["url"]).read_bytes()
        assert shard["filesize"] == len(raw)
        assert len(raw) < 20_000 + 10_240 + 5_000  # what tar files end with, and the sample that was over
        assert shard["url"].startswith(f"{shard['split']}-00000")
        with tarfile.open(out / shard["url"]) as archive:
            assert len(archive.getnames()) == 2 * shard["nsamples"]
    assert sum(shard["nsamples"] for shard in facts["shardlist"]) == 60
    about, data = facts["ganvas"], open_dataset(str(folder))
    assert len(facts["shardlist"]) > 5
    assert about["pictures"] == 60
    assert about["classes"] == ["cat", "dog"]
    assert about["sizes"] == {"16x16": 60}
    assert about["parts"] == {part: len(rows) for part, rows in data.rows.items()}
    assert list(about["counts"]["train"].values()) == data.counts("train").tolist()
    assert len(about["digest"]) == 64


def test_with_an_index_nothing_is_looked_through(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, looked = tmp_path / "out", []
    pack(folder, out=out, shard_mb=0.02)
    known = shards.look_through
    monkeypatch.setattr(shards, "look_through", lambda file: looked.append(file.name) or known(file))
    whole, some = open_dataset(str(out)), open_dataset(f"{out}/train-00000[0]*.tar", stream="yes")
    assert not looked
    for name in some.names:
        row = whole.names.index(f"train/{name}")
        assert (some.images[some.names.index(name)] == whole.images[row]).all()
    shard = out / "train-000001.tar"
    shard.write_bytes(shard.read_bytes() + bytes(512))  # the index is of another file then
    assert len(open_dataset(str(out))) == 60
    assert len(looked) > 3
    (out / "index.json").write_text("{}")
    assert len(open_dataset(str(shard))) == len(members(out, "train-000001")) / 2


def test_a_size_gives_what_training_would_see(folder: Path, tmp_path: Path) -> None:
    pack(folder, out=tmp_path / "out", size="8x10", channels="1")
    data = open_dataset(str(folder), size="8x10", channels="1")
    for row, name in enumerate(data.names):
        (content,) = (content for member, content in members(tmp_path / "out").items() if member == name)
        assert (np.asarray(Image.open(io.BytesIO(content))) == data.images[row, ..., 0]).all()
    assert (open_dataset(str(tmp_path / "out")).width, open_dataset(str(tmp_path / "out")).height) == (8, 10)


def test_a_named_set_keeps_its_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, known = tuple("jihgfedcba"), named.SETS["digits"]
    few = replace(known, classes=names, read=lambda _: tuple(array[:200] for array in known.read([])))
    monkeypatch.setitem(named.SETS, "digits", few)
    pack("digits", out=tmp_path / "out")
    before, after = open_dataset("digits"), open_dataset(str(tmp_path / "out"), stream="yes")
    assert after.classes == before.classes == names
    rows = {f"{part}/{before.names[row]}.png": row for part in before.rows for row in before.rows[part]}
    assert (after.images[:] == before.images[[rows[name] for name in after.names]]).all()
    assert after.labels is not None
    assert before.labels is not None
    assert (after.labels == before.labels[[rows[name] for name in after.names]]).all()


def test_shards_can_be_packed_anew(folder: Path, tmp_path: Path) -> None:
    pack(folder, out=tmp_path / "a")
    pack(tmp_path / "a", out=tmp_path / "b", shard_mb=0.01)
    assert sorted(members(tmp_path / "a").values()) == sorted(members(tmp_path / "b").values())
    a, b = (open_dataset(str(tmp_path / name)) for name in "ab")
    assert [len(rows) for rows in a.rows.values()] == [len(rows) for rows in b.rows.values()]


@leaves_files_open
def test_names(tmp_path: Path, paint: Paint) -> None:
    names = ["a.b.png", "a_b.png", "a_b.bmp", "__x__.png", "übung 1.png", f"{'long' * 40}.png", "v1.2/c.png"]
    for i, name in enumerate(names):
        paint(tmp_path / "in" / name, seed=i)
    pack(tmp_path / "in", out=tmp_path / "out")
    found = members(tmp_path / "out")
    keys = {"a_b", "a_b-2", "a_b-3", "x__", "übung 1", "long" * 40, "v1.2/c"}
    assert {name.rpartition(".")[0] for name in found} == keys
    assert len(found) == len(names)
    assert sorted(found.values()) == sorted((tmp_path / "in" / name).read_bytes() for name in names)
    samples = list(webdataset.WebDataset([str(path) for path in (tmp_path / "out").glob("*.tar")], shardshuffle=False))
    assert len(samples) == len(names)
    assert len(open_dataset(str(tmp_path / "out"))) == len(names)


def test_equal_pictures_make_equal_shards(folder: Path, tmp_path: Path) -> None:
    for name in "ab":
        pack(folder, out=tmp_path / name)
    for path in (tmp_path / "a").glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert (tmp_path / "a/index.json").read_text() == (tmp_path / "b/index.json").read_text()


def test_beyond_this_machine(folder: Path, tmp_path: Path) -> None:
    pack(folder, out="memory://bucket/pets", shard_mb=0.02)
    pack(folder, out=tmp_path / "out", shard_mb=0.02)
    here, there = (open_dataset(place, stream="yes") for place in (str(tmp_path / "out"), "memory://bucket/pets"))
    assert here.digest == there.digest
    assert (here.images[:] == there.images[:]).all()


@pytest.mark.parametrize("out", ["memory://bucket/pets", "here"])
def test_an_interruption_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(packing, "_write_index", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(folder, out=out, shard_mb=0.02)
    assert not fsspec.filesystem("memory").find("/")
    assert not (tmp_path / "here").exists()


def test_a_full_disk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing, "_write_index", full)
    with pytest.raises(UserError, match=r"cannot write .*out: No space left on device"):
        pack(folder, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard-mb", "0"], "--shard-mb 0 is not possible"),
        (["--shard-mb", "nan"], "--shard-mb nan is not possible"),
        (["--out", "used"], "used exists and is not an empty folder"),
        (["--out", "pets/inside"], "lies inside the data"),
        (["--out", "memory://used"], "memory://used exists and is not an empty folder"),
        (["--out", "zz://x"], "cannot reach zz://x"),
    ],
)
def test_refuses(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    monkeypatch.chdir(folder.parent)
    (folder.parent / "used").mkdir()
    (folder.parent / "used" / "x").touch()
    fsspec.filesystem("memory").pipe("/used/x", b"x")
    assert cli.main(["data", "pack", "pets", *words]) == 2
    assert message in capsys.readouterr().err


def test_bad_pictures(folder: Path, tmp_path: Path) -> None:
    (folder / "cat" / "01.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"1 of 60 pictures cannot be read: 'cat/01\.png'"):
        pack(folder, out=tmp_path / "out")
    pack(folder, out=tmp_path / "out", skip_bad=True)
    assert len(open_dataset(str(tmp_path / "out"))) == 59


def test_without_webdataset(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(UserError, match=r"install ganvas\[shards\]"):
        pack(folder, out=tmp_path / "out")


def test_the_command_says_what_next(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "pack", str(folder), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert "60 pictures are in 3 shards" in said
    assert f"next:  ganvas train {tmp_path / 'out'}" in said


def test_shards_that_are_missing_are_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    pack(folder, out=out)
    assert not any("not here" in note for note in open_dataset(str(out)).summary.notes)
    (out / "val-000000.tar").unlink()
    (note,) = (note for note in open_dataset(str(out)).summary.notes if "not here" in note)
    assert note == "1 of 3 shards that were packed together are not here (val-000000.tar)"
    assert f"{note}\n" in capsys.readouterr().err
