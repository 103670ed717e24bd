import gzip
import hashlib
import io
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from ganvas import UserError, open_dataset
from ganvas.data import named


def idx(array: np.ndarray) -> bytes:
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that is served on this machine, and its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mnist(site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """A tiny mnist on the site."""
    drawn = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 40), ("t10k", 10)):
        arrays[f"{part}-images-idx3-ubyte"] = drawn.integers(0, 256, (n, 28, 28), np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = (np.arange(n) % 10).astype(np.uint8)
    files = {}
    for name, array in arrays.items():
        (site[0] / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        files[f"{name}.gz"] = hashlib.sha256(idx(array)).hexdigest()
    changed = replace(named.SETS["mnist"], base=site[1], files=files)
    monkeypatch.setitem(named.SETS, "mnist", changed)
    return arrays


def no_network(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setitem(named.SETS, name, replace(named.SETS[name], base=f"http://127.0.0.1:{port}/", elsewhere=()))


def test_digits() -> None:
    from sklearn.datasets import load_digits

    data = open_dataset("digits")
    raw = load_digits()
    assert (data.images[..., 0] == np.rint(raw.images / 16 * 255)).all()
    assert (data.labels == raw.target).all()
    assert (data.width, data.channels, data.name, data.classes) == (8, 1, "digits", tuple("0123456789"))
    assert data.names[:3] == ["0", "1", "2"]


def test_fetched_once(mnist: dict[str, np.ndarray], cache_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_dataset("mnist")
    assert (data.images[:40, ..., 0] == mnist["train-images-idx3-ubyte"]).all()
    assert (data.images[40:, ..., 0] == mnist["t10k-images-idx3-ubyte"]).all()
    assert data.rows["test"].tolist() == list(range(40, 50))
    assert data.classes == tuple("0123456789")
    assert len(list((cache_root / "named" / "mnist").iterdir())) == 4
    no_network(monkeypatch, "mnist")
    assert open_dataset("mnist", size="14").width == 14


@pytest.mark.parametrize("raw", [b"no gzip", gzip.compress(b"other"), b""])
def test_wrong_content_is_not_kept(
    mnist: dict[str, np.ndarray], site: tuple[Path, str], cache_root: Path, raw: bytes
) -> None:
    (site[0] / "t10k-images-idx3-ubyte.gz").write_bytes(raw)
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte\.gz is not the right file of mnist"):
        open_dataset("mnist")
    kept = sorted(path.name for path in (cache_root / "named" / "mnist").iterdir())
    assert kept == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


def test_no_network(cache_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, file in (("mnist", "train-images-idx3-ubyte.gz"), ("cifar10", "cifar-10-binary.tar.gz")):
        no_network(monkeypatch, name)
        with pytest.raises(UserError, match=f"put {file}.* into {cache_root}/named/{name} and try again"):
            open_dataset(name)
        assert not list((cache_root / "named" / name).iterdir())


@pytest.mark.parametrize("zipped", [True, False])
def test_put_there_by_hand(
    mnist: dict[str, np.ndarray], cache_root: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    no_network(monkeypatch, "mnist")
    home = cache_root / "named" / "mnist"
    home.mkdir(parents=True)
    for name, array in mnist.items():
        if zipped:
            (home / f"{name}.gz").write_bytes(gzip.compress(idx(array), 1))
        else:
            (home / name).write_bytes(idx(array))
    assert len(open_dataset("mnist")) == 50


def test_wrong_by_hand(mnist: dict[str, np.ndarray], cache_root: Path) -> None:
    home = cache_root / "named" / "mnist"
    home.mkdir(parents=True)
    (home / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(40, np.uint8)))
    with pytest.raises(UserError, match="train-labels-idx1-ubyte is damaged or not the file of mnist"):
        open_dataset("mnist")


def test_where_a_system_has_it(
    mnist: dict[str, np.ndarray], site: tuple[Path, str], cache_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch, "mnist")
    monkeypatch.setitem(named.SETS, "mnist", replace(named.SETS["mnist"], elsewhere=(str(site[0]),)))
    assert len(open_dataset("mnist")) == 50
    assert not (cache_root / "named").exists()


def test_cifar10(site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.random.default_rng(0)
    records = drawn.integers(0, 256, (6, 10, 3073), np.uint8)
    records[..., 0] = np.arange(10)
    archive = site[0] / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as out:
        for i, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = records[i].nbytes
            out.addfile(member, io.BytesIO(records[i].tobytes()))
    files = {archive.name: hashlib.sha256(archive.read_bytes()).hexdigest()}
    monkeypatch.setitem(named.SETS, "cifar10", replace(named.SETS["cifar10"], base=f"{site[0].as_uri()}/", files=files))
    data = open_dataset("cifar10")
    assert data.images.shape == (60, 32, 32, 3)
    for band in range(3):
        plane = records[2, 3, 1 + 1024 * band : 1025 + 1024 * band].reshape(32, 32)
        assert (data.images[23, ..., band] == plane).all()
    assert data.labels is not None
    assert data.classes[data.labels[23]] == "cat"
    assert data.rows["test"].tolist() == list(range(50, 60))


def test_a_path_wins(tmp_path: Path, paint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "digits" / "a.png", (16, 16))
    assert len(open_dataset("digits")) == 1
