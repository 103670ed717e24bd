import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from served import served
from test_redraw import Negative, NegativeConfig

from ganvas.models.translation import Generator, GeneratorConfig
from ganvas.sample import Model
from ganvas.tiles import translated


def file_of(pixels: np.ndarray, format: str = "PNG", **how) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **how)
    return file.getvalue()


def noise(height: int = 21, width: int = 30, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, channels), np.uint8)


@pytest.fixture(scope="module")
def network():
    config = GeneratorConfig(channels=3, width=16, height=16, source=3, widths=(8, 4), blocks=1)
    return Generator(config).eval()


@pytest.fixture(scope="module")
def server(network):
    model = Model({"generator": network, "backward": Negative(NegativeConfig()).eval()})
    with served(model, max_pixels=10_000, max_mb=1) as server:
        yield server


def seen(answer) -> np.ndarray:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


@pytest.mark.parametrize("size", [(21, 30), (1, 1), (100, 100), (7, 1000)], ids=str)
def test_pictures_of_any_size_keep_it(server, network, size):
    pixels = noise(*size)
    expected = translated(network, pixels[None])[0]
    file = file_of(pixels)
    ways = {"content": file}, {"files": {"image": file}}, {"content": file_of(pixels, "TIFF")}
    for how in ways:
        assert (seen(server.client.post("/translate", **how)) == expected).all()
    assert (seen(server.client.post("/translate?direction=back", content=file)) == 255 - pixels).all()


def test_alpha_stays(server):
    pixels = noise(channels=4)
    pixels[..., 3] = np.where(pixels[..., 3] > 99, 255, 0)
    made = seen(server.client.post("/translate", content=file_of(pixels)))
    assert (made[..., 3] == pixels[..., 3]).all()


def test_pictures_are_turned_upright(server):
    file = io.BytesIO()
    image = Image.fromarray(noise(8, 12))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(file, "JPEG", exif=exif)
    assert seen(server.client.post("/translate", content=file.getvalue())).shape == (12, 8, 3)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks)


def moving() -> bytes:
    first, *others = (Image.fromarray(noise(k + 8)[:8]) for k in range(3))
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others)
    return file.getvalue()


HOSTILE = {
    "too large": (lambda: png(101, 100, chunk(b"IDAT", b"")), 413, "101 x 100"),
    "bomb": (lambda: png(30_000, 30_000, chunk(b"IDAT", zlib.compress(bytes(10**6)))), 422, "no picture"),
    "text bomb": (lambda: png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))), 422, "no picture"),
    "many bytes": (lambda: bytes(1_000_001), 413, "1 MB"),
    "nothing": (lambda: b"", 422, "no picture"),
    "no picture": (lambda: b"<svg onload=alert(1)>", 422, "no picture"),
    "eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 422, "no picture"),
    "half": (lambda: file_of(noise(90, 90))[:900], 422, "no picture"),
    "broken": (lambda: file_of(noise(), "JPEG").replace(b"\xff\xda", b"\xff\xc0", 1), 422, "no picture"),
    "not finite": (lambda: file_of(np.full((3, 3), np.nan, np.float32), "TIFF"), 422, "no picture"),
    "moving": (moving, 422, "it moves"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pictures_are_refused(server, name):
    make, status, words = HOSTILE[name]
    body = make()
    for how in ({"content": body}, {"files": {"image": body}}):
        answer = server.client.post("/translate", **how)
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
        assert len(answer.content) < 500


def test_forms_without_a_picture_are_refused(server):
    post = server.client.post
    assert post("/translate", files={"picture": b"x"}).status_code == 422
    assert post("/translate", files=[("image", b"x"), ("image", b"y")]).status_code == 400
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = post("/translate", content=b"--y\r\n\r\n", headers={"content-type": kind})
        assert 400 <= answer.status_code < 500
    assert post("/translate?direction=up", content=file_of(noise())).status_code == 422
    assert post("/generate", json={}).status_code == 404


def test_what_is_given_up_is_not_translated(server):
    with server.held():
        job = server.worker.translate(server.worker.model.translator, noise())
        assert job.cancel()
    before = server.figure("ganvas_pictures_total")
    seen(server.client.post("/translate", content=file_of(noise())))
    assert server.figure("ganvas_pictures_total") == before + 1
    assert server.figure("ganvas_queue_pictures") == 0
