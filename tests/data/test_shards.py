import io
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

import ganvas
from ganvas import UserError, cli, open_dataset, training
from ganvas.data import cache, clean_cache, rows_at, shards, spool
from ganvas.data.dataset import Dataset
from ganvas.data.sampler import TOGETHER
from ganvas.data.storage import Stored
from ganvas.data.streaming import Streamed
from ganvas.state import State

Paint = Callable[..., Path]


@pytest.fixture(autouse=True)
def memory() -> Iterator[None]:
    """What lies at memory:// goes with the test."""
    yield
    fsspec.filesystem("memory").rm("/", recursive=True)


def tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def foreign(folder: Path, tmp_path: Path) -> Path:
    """The 60 pictures as others would have written them: 5 shards, labels 0 and 1, no index."""
    paths = sorted(folder.rglob("*.png"), key=lambda path: path.name)
    for number in range(5):
        files: dict[str, bytes] = {}
        for i, path in enumerate(paths[12 * number : 12 * number + 12]):
            key = f"{number}{i:03}"
            files |= {f"{key}.png": path.read_bytes(), f"{key}.cls": str(int(path.parent.name == "dog")).encode()}
        tar(tmp_path / "foreign" / f"part-{number:03}.tar", files)
    return tmp_path / "foreign"


def same(a: Dataset, b: Dataset) -> bool:
    whole = np.arange(len(a))
    equal = (a.images[whole] == b.images[whole]).all() and all((a.rows[p] == b.rows[p]).all() for p in a.rows)
    return (
        bool(equal)
        and a.names == b.names
        and a.classes == b.classes
        and a.counts("train").tolist() == b.counts("train").tolist()
    )


# ---------------------------------------------------------------------------------------------- what is read


def test_shards_of_others(foreign: Path, folder: Path) -> None:
    data = open_dataset(str(foreign))
    assert (len(data), data.classes, data.name) == (60, ("0", "1"), "foreign")
    assert isinstance(data.images, np.memmap)  # so few fit into the cache
    assert data.why["stream"].startswith("prepared they have 0.000687 GiB, no more than 10, half of")
    paths = sorted(folder.rglob("*.png"), key=lambda path: path.name)
    for row, name in enumerate(data.names):
        path = paths[12 * int(name[0]) + int(name[1:4])]
        assert (data.images[row] == np.asarray(Image.open(path))).all()
        assert data.labels is not None
        assert data.labels[row] == (path.parent.name == "dog")


@pytest.mark.parametrize(
    "options",
    [{}, {"size": "24x12"}, {"size": "8", "fit": "pad", "channels": "4"}, {"channels": "1"}, {"group": "^[0-9]"}],
)
def test_streamed_pixels_are_those_of_the_cache(foreign: Path, options: dict[str, str]) -> None:
    cached, streamed = (open_dataset(str(foreign), stream=stream, **options) for stream in ("no", "yes"))
    assert isinstance(streamed.images, Streamed)
    assert (streamed.images.shape, streamed.channels) == (cached.images.shape, cached.channels)
    assert same(cached, streamed)
    assert streamed.digest != cached.digest  # as the order is another
    assert (streamed.batch(np.array([3, 1])) == cached.batch(np.array([3, 1]))).all()
    assert streamed.shards is not None
    assert np.bincount(streamed.shards).tolist() == [12] * 5


@pytest.mark.parametrize(
    "index", [5, -1, slice(3, 40, 7), [], [4, 4, 2], [[1, 2], [3, -4]], np.arange(60) % 9 == 0, np.arange(60)]
)
def test_is_indexed_as_an_array(foreign: Path, index: object) -> None:
    cached, streamed = (open_dataset(str(foreign), stream=stream).images for stream in ("no", "yes"))
    expected, found = cached[index], streamed[index]
    assert found.shape == expected.shape
    assert found.dtype == np.uint8
    assert (found == expected).all()


def test_transparency_and_jpeg(tmp_path: Path) -> None:
    random, files = np.random.default_rng(0), {}
    for i in range(6):
        pixels, file = random.integers(0, 256, (40, 30, 4), np.uint8), io.BytesIO()
        picture = Image.fromarray(pixels)
        picture.save(file, "PNG") if i % 2 else picture.convert("RGB").save(file, "JPEG")
        files[f"{i}.{'png' if i % 2 else 'jpeg'}"] = file.getvalue()
    tar(tmp_path / "x.tar", files)
    cached, streamed = (open_dataset(str(tmp_path / "x.tar"), size="16", stream=stream) for stream in ("no", "yes"))
    assert streamed.channels == 4
    assert same(cached, streamed)


@pytest.mark.parametrize("pattern", ["part-{000..004}.tar", "part-00{0,1,2,3,4}.tar", "part-*.tar", "part-00?.tar", ""])
def test_patterns(foreign: Path, pattern: str) -> None:
    whole, found = open_dataset(str(foreign)), open_dataset(str(foreign / pattern))
    assert same(whole, found)
    assert found.digest == whole.digest
    assert len(open_dataset(str(foreign / "part-{001..002}.tar"))) == 24
    assert len(open_dataset(str(foreign / "part-001.tar"))) == 12


def test_beyond_this_machine(foreign: Path) -> None:
    fsspec.filesystem("memory").put(f"{foreign}/*", "/bucket/pets/")
    here = open_dataset(str(foreign), stream="no")
    places = ("memory://bucket/pets", "memory://bucket/pets/part-{000..004}.tar", "memory://bucket/pets/part-*.tar")
    for place in (*places, f"file://{foreign}"):
        for stream in ("no", "yes"):
            assert same(here, open_dataset(place, stream=stream)), place
    assert len(open_dataset("memory://bucket/pets/part-003.tar")) == 12


def test_labels_in_json_and_names_that_come_again(tmp_path: Path, paint: Paint) -> None:
    picture = paint(tmp_path / "a.png").read_bytes()
    for number in range(2):
        texts = {f"{i}.json": b'{"label": "%s"}' % (b"cat" if i % 3 else b"dog") for i in range(8)}
        files = {f"{i}.png": picture for i in range(8)} | texts | {"0.mask.png": picture, "9.txt": b"x"}
        tar(tmp_path / "shards" / f"{number}.tar", files)
    data = open_dataset(str(tmp_path / "shards"))
    assert data.classes == ("cat", "dog")
    assert data.names[:2] == ["000000-0/0.png", "000000-0/1.png"]
    assert data.summary.skipped == {"further pictures of a sample": 2, ".txt": 2, "samples without a picture": 2}
    for number in range(2):
        files |= {"0.json": b"no json"}
        tar(tmp_path / "shards" / f"{number}.tar", files)
    data = open_dataset(str(tmp_path / "shards"))
    assert data.labels is None
    assert "no classes, as 2 of 16 pictures have no label" in data.summary.notes


def test_folders_are_classes_and_names_of_shards_are_parts(tmp_path: Path, paint: Paint) -> None:
    picture = paint(tmp_path / "a.png").read_bytes()
    for part in ("train", "validation", "test"):
        names = [f"{kind}/{part}{i}.png" for kind in ("cat", "dog") for i in range(4)]
        tar(tmp_path / "shards" / f"pets-{part}-00.tar", dict.fromkeys(names, picture))
    data = open_dataset(str(tmp_path / "shards"))
    assert data.classes == ("cat", "dog")
    assert {part: len(rows) for part, rows in data.rows.items()} == {"train": 8, "val": 8, "test": 8}
    assert all("validation" in data.names[row] for row in data.rows["val"])


def test_shards_are_looked_through_once(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, looked = open_dataset(str(foreign)), []
    monkeypatch.setattr(shards, "look_through", lambda *_: looked.append(1))
    assert same(first, open_dataset(str(foreign), stream="yes"))
    assert not looked


def test_what_does_not_fit_is_streamed(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANVAS_CACHE_GIB", "0.001374")  # twice what 60 pictures of at most 64x64x3 have
    assert open_dataset(str(foreign)).shards is None
    monkeypatch.setenv("GANVAS_CACHE_GIB", "0.001373")
    data = open_dataset(str(foreign))
    assert isinstance(data.images, Streamed)
    assert data.why["stream"].startswith("prepared they have 0.000687 GiB, more than 0.000687, half of")
    assert data.why["stream"].endswith("each class comes as often as there are pictures of it")


def test_only_shards_are_streamed(folder: Path) -> None:
    with pytest.raises(UserError, match="ganvas data pack"):
        open_dataset(str(folder), stream="yes")


def test_show(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(foreign), "--stream", "yes", "--out", str(tmp_path / "sheet.png")]
    assert cli.main(["data", "show", *words]) == 0
    assert "yes (you set it; each class" in capsys.readouterr().out
    assert (tmp_path / "sheet.png").exists()


# ---------------------------------------------------------------------------------------------- what is refused


def refused(data: object, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one sentence with which the command line refuses data."""
    capsys.readouterr()
    assert cli.main(["data", "show", str(data), *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("ganvas: ")
    return line


@pytest.mark.parametrize("kept", [512, 700, 5000, 8192])
def test_a_shard_cut_short(foreign: Path, kept: int, capsys: pytest.CaptureFixture[str]) -> None:
    shard = foreign / "part-002.tar"
    shard.write_bytes(shard.read_bytes()[:kept])
    assert "part-002.tar is cut short or damaged" in refused(foreign, capsys)


def test_an_end_between_two_files(tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    picture = paint(tmp_path / "a.png").read_bytes()
    shard = tar(tmp_path / "x.tar", {"a.png": picture, "b.png": picture})
    with tarfile.open(shard) as archive:
        middle = archive.getmember("b.png").offset
    shard.write_bytes(shard.read_bytes()[:middle])
    assert "x.tar is cut short or damaged (it has no end)" in refused(shard, capsys)


def test_no_shards(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "part-005.tar" in refused(foreign / "part-{003..006}.tar", capsys)
    assert "there are no shards (.tar) at" in refused(tmp_path / "no-*.tar", capsys)
    assert "is no range" in refused(foreign / "part-{9..3}.tar", capsys)
    assert "more than 100000" in refused("x{1..99999}{1..99}", capsys)
    assert "there is nothing at memory://no/such.tar" in refused("memory://no/such.tar", capsys)
    fsspec.filesystem("memory").pipe("/empty/a.txt", b"x")
    assert "there are no shards (.tar) at memory://empty" in refused("memory://empty", capsys)
    assert "--task video is about clips" in refused("memory://x", capsys, "--task", "video")


def test_no_tar(tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]) -> None:
    picture = paint(tmp_path / "a.png").read_bytes()
    (tmp_path / "x.tar").write_bytes(picture * 100)
    assert "x.tar is no tar file" in refused(tmp_path / "x.tar", capsys)
    (tmp_path / "x.tar").write_bytes(bytes(100))
    assert "x.tar is no tar file" in refused(tmp_path / "x.tar", capsys)
    (tmp_path / "x.tar").write_bytes(b"")
    assert "x.tar is empty" in refused(tmp_path / "x.tar", capsys)
    tar(tmp_path / "x.tar", {})
    assert "x.tar has no pictures in it" in refused(tmp_path / "x.tar", capsys)
    tar(tmp_path / "x.tar", {"a.txt": b"x"})
    assert "x.tar has no pictures in it" in refused(tmp_path / "x.tar", capsys)
    tar(tmp_path / "x.tar", {"a.png": picture}, "w:gz")
    assert "x.tar is compressed" in refused(tmp_path / "x.tar", capsys)


def test_no_driver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(*_: object) -> None:
        raise ImportError("Install s3fs to access S3")

    assert "Protocol not known: zz" in refused("zz://bucket/x.tar", capsys)
    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    found = refused("s3://bucket/x.tar", capsys)
    assert "s3://bucket/x.tar needs another package: Install s3fs to access S3" in found
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert "install ganvas[shards]" in refused("s3://bucket/x.tar", capsys)


def test_no_entry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "isdir", closed)
    found = refused("memory://bucket/x.tar", capsys)
    assert "cannot reach memory://bucket/x.tar (PermissionError: Access Denied)" in found
    assert "credentials" in found


def test_a_broken_picture_is_named(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tarfile.open(foreign / "part-002.tar") as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    tar(foreign / "part-002.tar", files | {"2003.png": b"nothing"})
    for stream in ("yes", "no"):
        found = refused(foreign, capsys, "--stream", stream)
        assert "1 of 60 pictures cannot be read: '2003.png' (not a picture); mend or remove them" in found
        data = open_dataset(str(foreign), stream=stream, skip_bad=True)
        assert len(data) == 59
        assert "2003.png" not in data.names
        assert data.summary.bad == {"2003.png": "not a picture"}


def test_a_picture_that_breaks_off_is_replaced_and_counted(
    tmp_path: Path, paint: Paint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [paint(tmp_path / f"{i}.png", (24, 24), seed=i).read_bytes() for i in range(8)]
    names = [f"{i:03}.png" for i in range(240)]
    files = {name: pictures[i % 8] for i, name in enumerate(names)}
    shard = tar(tmp_path / "x.tar", files | {"013.png": pictures[5][:700]})
    monkeypatch.setattr("ganvas.data.build.LOOKED_AT", 10)  # so that it is not among those
    data = open_dataset(str(shard), stream="yes")
    assert len(data) == 240
    images = data.images[[12, 13, 14]]
    assert (images[1] == images[2]).all()
    assert (data.images[13] == images[1]).all()
    found = capsys.readouterr().err
    assert found.count("the next of its class takes its place") == 1
    assert "in x.tar from byte" in found
    shard = tar(tmp_path / "y.tar", files | {f"{i:03}.png": pictures[5][:700] for i in (13, 14, 15)})
    few, all_ = (open_dataset(str(shard), stream="yes", skip_bad=skip) for skip in (False, True))
    with pytest.raises(UserError, match=r"3 of 240 pictures cannot be read: 'y\.tar from byte"):
        few.images[[13]]
    assert (all_.images[[13]] == all_.images[[16]]).all()
    labels = {f"{i:03}.cls": b"%d" % (i in (13, 40)) for i in range(240)}
    data = open_dataset(str(tar(tmp_path / "z.tar", files | labels | {"013.png": pictures[5][:700]})), stream="yes")
    assert (data.images[[13]] == data.images[[40]]).all()


def test_a_shard_that_changes_meanwhile(foreign: Path) -> None:
    data = open_dataset(str(foreign), stream="yes")
    (foreign / "part-002.tar").write_bytes(b"short")
    with pytest.raises(UserError, match=r"part-002\.tar has changed"):
        data.images[:]
    (foreign / "part-002.tar").unlink()
    with pytest.raises(UserError, match=r"there is nothing at .*part-002\.tar"):
        data.images[:]


# ---------------------------------------------------------------------------------------------- order


SHARDS = np.repeat(np.arange(40), 25)
ROWS = np.flatnonzero(np.arange(1000) % 5)  # 20 of each of 40 shards


def test_every_epoch_has_every_row_of_all_shards_once() -> None:
    drawn = rows_at(ROWS, 3, 0, 6 * 800, SHARDS).reshape(6, 800)
    assert (np.sort(drawn, axis=1) == ROWS).all()
    assert len({tuple(epoch) for epoch in drawn}) == 6


@pytest.mark.parametrize("seed", range(20))
def test_any_cut_gives_the_same_samples_of_shards(seed: int) -> None:
    whole = rows_at(ROWS, seed, 0, 3000, SHARDS)
    start, count = np.random.default_rng(seed).integers(0, 1500, 2).tolist()
    assert (rows_at(ROWS.copy(), seed, start, count, SHARDS.copy()) == whole[start : start + count]).all()
    assert (rows_at(ROWS, seed + 1, 0, 3000, SHARDS) != whole).any()


def test_few_shards_are_in_use_at_once() -> None:
    epoch = SHARDS[rows_at(ROWS, 0, 0, 800, SHARDS)].reshape(5, 160)
    used = [set(group.tolist()) for group in epoch]
    assert [len(group) for group in used] == [TOGETHER] * 5
    assert len(set.union(*used)) == 40
    for group in epoch:  # well mixed among themselves: no shard is far behind
        halves = [np.bincount(half, minlength=40)[sorted(set(half))] for half in np.split(group, 2)]
        assert min(map(len, halves)) == TOGETHER
    later = SHARDS[rows_at(ROWS, 0, 800, 160, SHARDS)]
    assert set(later.tolist()) not in used


def test_few_shards_are_shuffled_as_one() -> None:
    drawn = rows_at(np.arange(16), 0, 0, 16 * 400, np.arange(16) // 4).reshape(400, 16)
    counts = np.stack([np.bincount(column, minlength=16) for column in drawn.T])
    assert counts.min() > 5  # 25 expected, standard deviation 4.8
    assert counts.max() < 50


def test_golden_of_shards() -> None:
    """A run must resume with another numpy as it began."""
    found = rows_at(np.arange(24), 7, 30, 12, np.arange(24) // 2)
    assert found.tolist() == GOLDEN


GOLDEN = [23, 13, 12, 11, 22, 5, 19, 1, 9, 20, 8, 15]


def test_killed_and_resumed_a_run_sees_each_picture_once_an_epoch(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, list[int]]] = []
    steps: list[int] = []  # of which a batch is made just now
    alive = 7

    def real_batch(dataset: Dataset, state: State, part: str = "train", known: Any = training.real_batch) -> Any:
        steps.append(state.step)
        try:
            return known(dataset, state, part)
        finally:
            steps.clear()

    def batch(self: Dataset, rows: np.ndarray, known: Any = Dataset.batch) -> Any:
        if steps:
            seen.append((steps[0], rows.tolist()))
            if len(seen) == alive:
                raise RuntimeError("killed")
        return known(self, rows)

    monkeypatch.setattr("ganvas.warmup.PROBE", (0, 0, 0))
    monkeypatch.setattr(training, "real_batch", real_batch)
    monkeypatch.setattr(Dataset, "batch", batch)
    how = {"budget": "14steps", "stream": "yes", "out": tmp_path / "runs", "snap": "4steps", "precision": "fp32"}
    how |= {"features": "none", "threads": 1, "size": "8", "conditional": "no", "augment": "no", "batch": 10}
    with pytest.raises(RuntimeError, match="killed"):
        ganvas.train(foreign, **how)
    ganvas.train(foreign, **how)
    assert [step for step, _ in seen] == [*range(7), *range(4, 14)]
    rows = np.concatenate([rows for _, rows in seen[:4] + seen[7:]])
    train = open_dataset(str(foreign), stream="yes", size="8").rows["train"]
    epochs = rows[: 2 * len(train)].reshape(2, -1)
    assert (np.sort(epochs, axis=1) == train).all()
    assert len(set(rows[2 * len(train) :].tolist())) == 140 - 2 * len(train)


# ---------------------------------------------------------------------------------------------- spool and threads


def test_batches_are_decoded_beforehand(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_dataset(str(foreign), stream="yes")
    assert isinstance(data.images, Streamed)
    known = open_dataset(str(foreign), stream="no").images
    data.expect(lambda k: np.arange(5 * k, 5 * k + 5))
    assert len(data.images._coming) == data.images.ahead >= 4
    for coming in data.images._coming.values():
        coming.result()
    with monkeypatch.context() as patch:
        patch.setattr(Streamed, "_picture", None)
        assert (data.images[np.arange(5, 10)] == known[5:10]).all()
        with pytest.raises(TypeError):
            data.images[np.arange(6, 11)]
    for start in range(1000, 1100):
        data.images.expect([np.arange(start, start + 2) % 60])
    assert len(data.images._coming) == 2 * data.images.ahead


def test_shards_in_use_are_spooled(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").put(f"{foreign}/*", "/pets/")
    data = open_dataset("memory://pets", stream="yes")
    assert isinstance(data.images, Streamed)
    kept = data.images.spool
    known = open_dataset(str(foreign), stream="no").images
    rows = np.arange(60)
    for shard in range(5):
        kept._fetch_one(kept.files[shard])
    with monkeypatch.context() as patch:
        patch.setattr(Stored, "read", None)
        assert (data.images[rows] == known[rows]).all()
    size = kept.files[0].size
    kept.room = 2.5 * size
    kept._fetch_one(Stored("memory://pets/part-000.tar", size, "another"))
    assert len(list(cache.spool().glob("*.tar"))) == 2
    clean_cache()
    assert not cache.spool().exists()


def test_a_shard_is_fetched_in_the_background(foreign: Path) -> None:
    fsspec.filesystem("memory").put(f"{foreign}/*", "/pets/")
    file = Stored("memory://pets/part-000.tar", (foreign / "part-000.tar").stat().st_size, "")
    kept = spool.Spool([file])
    assert kept.read((0, 0, 6), soon=False) == (foreign / "part-000.tar").read_bytes()[:6]
    assert kept._thread is None
    kept.read((0, 0, 6), soon=True)
    for _ in range(500):
        if kept._path(file).exists():
            break
        time.sleep(0.01)
    assert kept._path(file).read_bytes() == (foreign / "part-000.tar").read_bytes()
    large = spool.Spool([file])
    large.room = file.size - 1
    large.read((0, 0, 6), soon=True)
    assert large._thread is None


def test_a_server_that_stumbles_is_asked_again(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").put(f"{foreign}/*", "/pets/")
    kind = type(fsspec.filesystem("memory"))
    calls: list[int] = []

    def stumbling(self: object, *args: int, known: Callable = kind.cat_file) -> bytes:
        calls.append(1)
        if len(calls) % 3:
            raise OSError("reset by peer")
        return known(self, *args)

    monkeypatch.setattr("ganvas.data.storage._PAUSE", 0)
    monkeypatch.setattr(kind, "cat_file", stumbling)
    file = Stored("memory://pets/part-000.tar", 1, "")
    assert len(file.read(0, 100)) == 100
    monkeypatch.setattr("ganvas.data.storage._TRIES", 2)
    with pytest.raises(UserError, match=r"cannot reach memory://pets/part-000\.tar \(OSError: reset by peer\)"):
        file.read(0, 100)


# ---------------------------------------------------------------------------------------------- Hugging Face


class Column:
    """A set of the hub, as far as is used of one."""

    def __init__(self, rows: list[dict[str, object]], features: dict[str, object]) -> None:
        self.rows, self.features, self._fingerprint = rows, features, "abc"

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: int | str) -> object:
        return [row[which] for row in self.rows] if isinstance(which, str) else self.rows[which]

    def cast_column(self, name: str, kind: object) -> "Column":
        assert (name, kind.decode) == ("picture", False)  # type: ignore[attr-defined]
        return self


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Column]:
    module = ModuleType("datasets")
    module.Image = type("Image", (), {"__init__": lambda self, decode=True: setattr(self, "decode", decode)})  # type: ignore[attr-defined]
    module.ClassLabel = type("ClassLabel", (SimpleNamespace,), {})  # type: ignore[attr-defined]
    features = {"picture": module.Image(), "kind": module.ClassLabel(names=["cat", "dog"]), "id": None}  # type: ignore[attr-defined]
    rows: list[dict[str, object]] = [
        {"picture": {"bytes": path.read_bytes() if i % 2 else None, "path": str(path)}, "kind": i % 2}
        for i, path in enumerate(sorted(folder.rglob("*.png")))
    ]
    parts = {"train": Column(rows[:40], features), "test": Column(rows[40:], features)}

    def load_dataset(name: str, config: str | None) -> dict[str, Column]:
        if (name, config) not in (("me/pets", None), ("me/pets", "small")):
            raise FileNotFoundError(name)
        return parts

    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return parts


def test_a_set_of_the_hub(hub: dict[str, Column], folder: Path) -> None:
    data = open_dataset("hf:me/pets")
    assert (data.name, data.classes, len(data)) == ("me-pets", ("cat", "dog"), 60)
    assert len(data.rows["test"]) == 20
    assert min(len(rows) for rows in data.rows.values()) > 0
    assert set(data.names) == {f"test/{i}" for i in range(20)} | {f"train/{i}" for i in range(40)}
    every = sorted(folder.rglob("*.png"))
    for row, name in enumerate(data.names):
        part, _, number = name.partition("/")
        i = int(number) + (40 if part == "test" else 0)
        assert (data.images[row] == np.asarray(Image.open(every[i]))).all()
        assert data.labels is not None
        assert data.labels[row] == i % 2
    assert (open_dataset("hf:me/pets:small").images[:] == data.images[:]).all()


def test_what_the_hub_has_not(
    hub: dict[str, Column], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "there is nothing at hf:me/cars" in refused("hf:me/cars", capsys)
    for part in hub.values():
        part.features = {"text": None}
    assert "hf:me/pets has no pictures; its columns are text" in refused("hf:me/pets", capsys)
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "hf:me/pets needs the package datasets" in refused("hf:me/pets", capsys)
