import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ganvas import UserError, open_dataset
from ganvas.data import build, cache, clean_cache, sources

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make work that should not be done again fail."""

    def refuse(*_: object) -> None:
        raise AssertionError("this was done already")

    def freeze(*, reading: bool) -> None:
        monkeypatch.setattr(build, "build", refuse)
        if reading:
            monkeypatch.setattr(sources, "_file_hash", refuse)

    return freeze


def entries(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "sets").iterdir())


def test_unchanged_folder_is_not_read_again(folder: Path, frozen: Callable[..., None]) -> None:
    first = open_dataset(str(folder))
    frozen(reading=True)
    again = open_dataset(str(folder))
    assert again.digest == first.digest
    assert (again.images == first.images).all()
    assert (again.summary, again.why) == (first.summary, first.why)


def test_touched_or_moved_files_are_not_decoded_again(folder: Path, frozen: Callable[..., None]) -> None:
    first = open_dataset(str(folder))
    frozen(reading=False)
    for path in folder.rglob("*.png"):
        os.utime(path)
    assert open_dataset(str(folder)).digest == first.digest
    moved = folder.rename(folder.with_name("moved"))
    assert open_dataset(str(moved)).digest == first.digest
    assert open_dataset(str(moved)).name == "moved"


def test_changes_are_seen(folder: Path) -> None:
    first = open_dataset(str(folder))
    path = folder / first.names[0]
    status = path.stat()
    bmp = folder / "cat" / "x.bmp"  # always as many bytes
    Image.new("RGB", (16, 16), "red").save(bmp)
    second = open_dataset(str(folder))
    assert len(second) == 61
    status = bmp.stat()
    Image.new("RGB", (16, 16), "lime").save(bmp)
    os.utime(bmp, ns=(status.st_atime_ns, status.st_mtime_ns))
    third = open_dataset(str(folder))
    assert third.images[third.names.index("cat/x.bmp"), 0, 0].tolist() == [0, 255, 0]
    assert len({first.digest, second.digest, third.digest}) == 3


def test_options_make_another_set(folder: Path) -> None:
    asked: list[dict[str, str]] = [{}, {"size": "8"}, {"size": "9"}, {"channels": "1"}, {"fit": "pad"}]
    assert len({open_dataset(str(folder), **options).digest for options in asked}) == 5  # type: ignore[arg-type]
    assert open_dataset(str(folder), size="8").digest == open_dataset(str(folder), size="8x8").digest


def test_workers_change_nothing(folder: Path) -> None:
    one = open_dataset(str(folder), workers=1)
    images = one.images.copy()
    clean_cache()
    three = open_dataset(str(folder), workers=3)
    assert (three.images == images).all()
    assert three.digest == one.digest


def test_a_killed_maker_leaves_nothing_that_counts(folder: Path, cache_root: Path) -> None:
    script = f"""
import time
from ganvas.data import build, rows
slow = rows.decode
rows.decode = lambda *a: (time.sleep(0.1), slow(*a))[1]
build._BLOCK = 1
from ganvas import open_dataset
open_dataset({str(folder)!r}, channels="3", workers=1)
"""
    maker = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 30
    part = cache_root / "sets"
    while not any(path.stat().st_size for path in part.glob("*.tmp/images.npy")):
        assert time.monotonic() < deadline
        assert maker.poll() is None
        time.sleep(0.02)
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    assert [name.rsplit(".")[-1] for name in entries(cache_root)] == ["tmp"]
    other = open_dataset(str(folder), size="8")
    assert entries(cache_root) == [other.digest]  # swept by whoever comes next
    data = open_dataset(str(folder), channels="3")
    assert (data.images[7] == np.asarray(Image.open(folder / data.names[7]))).all()


def test_several_makers_at_once(folder: Path, cache_root: Path) -> None:
    script = f"from ganvas import open_dataset; print(open_dataset({str(folder)!r}).digest)"
    run = [sys.executable, "-c", script]
    makers = [subprocess.Popen(run, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    digests = {maker.communicate(timeout=60)[0].strip() for maker in makers}
    assert [maker.returncode for maker in makers] == [0, 0, 0]
    assert sorted(digests) == entries(cache_root)
    assert len(open_dataset(str(folder))) == 60


@pytest.mark.parametrize("damage", ["images.npy", "meta.json", "parts.npy"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_damaged_set_is_made_anew(folder: Path, damage: str, how: str) -> None:
    data = open_dataset(str(folder))
    images, path = data.images.copy(), data.folder / damage
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-50])
    assert (open_dataset(str(folder)).images == images).all()


def test_eviction(folder: Path, cache_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, used = open_dataset(str(folder), size="8"), open_dataset(str(folder), size="9")
    for age, data in ((200, old), (100, used)):
        os.utime(data.folder / "meta.json", (time.time() - age, time.time() - age))
    open_dataset(str(folder), size="8")  # now the other one is the longest unused
    size = sum(path.stat().st_size for path in cache_root.rglob("sets/*/*"))
    monkeypatch.setenv("GANVAS_CACHE_GIB", str(size / 2**30))
    new = open_dataset(str(folder), size="8", channels="1")
    assert entries(cache_root) == sorted([old.digest, new.digest])
    monkeypatch.setenv("GANVAS_CACHE_GIB", "0")
    last = open_dataset(str(folder), size="11")
    assert entries(cache_root) == [last.digest]
    monkeypatch.setenv("GANVAS_CACHE_GIB", "many")
    with pytest.raises(UserError, match="GANVAS_CACHE_GIB='many'"):
        open_dataset(str(folder), size="12")


def test_clean(folder: Path, cache_root: Path) -> None:
    assert clean_cache() == 0
    data = open_dataset(str(folder))
    size = sum(path.stat().st_size for path in data.folder.iterdir())
    (cache_root / "named" / "mnist").mkdir(parents=True)
    assert clean_cache() == size
    assert entries(cache_root) == []
    assert (cache_root / "named" / "mnist").exists()
    assert len(open_dataset(str(folder))) == 60


def test_a_nearly_full_disk(folder: Path, cache_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"need 0\.0 GiB but"):
        open_dataset(str(folder))
    assert entries(cache_root) == []


@pytest.mark.skipif(os.name == "nt", reason="needs a limit of file sizes")
def test_a_disk_that_fills_up(folder: Path, cache_root: Path) -> None:
    script = f"""
import resource, signal
from ganvas import UserError, open_dataset
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    open_dataset({str(folder)!r})
except UserError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert ran.stdout.startswith("cannot write prepared pictures into")
    assert entries(cache_root) == []


@pytest.mark.parametrize("place", ["cat/01.png", "a" * 300])
def test_a_cache_that_cannot_be(folder: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("GANVAS_CACHE", str(folder / place))
    with pytest.raises(UserError, match="let GANVAS_CACHE name another folder"):
        open_dataset(str(folder))
    with pytest.raises(UserError, match="cannot write"):
        clean_cache()


def test_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GANVAS_CACHE")
    assert cache.root().name == "ganvas"


def test_showing_needs_no_torch(folder: Path) -> None:
    script = f"""
import sys, ganvas, ganvas.data.sheet
ganvas.data.sheet.contact_sheet(ganvas.open_dataset({str(folder)!r}))
sys.exit('torch' in sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.skipif(not SHARED.is_dir() or not Path("/proc/self/status").exists(), reason="needs MNIST and Linux")
def test_mnist_within_500_mib() -> None:
    script = f"""
import re, ganvas
data = ganvas.open_dataset({str(SHARED / "mnist")!r})
print(data.images.shape, [len(rows) for rows in data.rows.values()], data.labels[:5], data.images.sum())
# not ru_maxrss, which counts what the tests' own process had when it started this one
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) < 500 << 10)
"""
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    facts, small = ran.stdout.splitlines()
    assert facts.startswith("(70000, 28, 28, 1) [57016, 2984, 10000] [5 0 4 1 9]")
    assert small == "True"
