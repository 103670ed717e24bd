import base64
import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from served import served, until
from toys import toy

from ganvas.models.video import Generator, GeneratorConfig
from ganvas.pictures import grid, straight, to_pil
from ganvas.sample import Model, render

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="module")
def cats():
    with served(toy("cat", "dog", "größe", width=9), max_n=20) as server:
        yield server


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def drawn(model: Model, seeds, labels=None, **how) -> np.ndarray:
    return np.concatenate(list(render(model, seeds=seeds, labels=labels, **how)))


def test_one_picture(cats):
    answer = cats.generate(seeds=[7], classes=["dog"], truncation=0.5)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["x-seed"] == "7"
    assert (opened(answer.content) == drawn(cats.worker.model, [7], [1], truncation=0.5)[0]).all()


def test_without_seeds_no_picture_comes_twice(cats):
    first, second = (int(cats.generate(n=n).headers["x-seed"]) for n in (3, 1))
    assert second == first + 3


def test_several_pictures_are_a_grid(cats):
    every = drawn(cats.worker.model, range(5))
    answer = cats.generate(seeds=list(range(5)))
    assert (opened(answer.content) == np.asarray(grid(every, 3))).all()


def test_a_zip_has_them_in_the_order_asked_for(cats):
    answer = cats.generate(seeds=[4, 2, 4], classes=["größe", "cat"], answer="zip")
    assert answer.headers["content-type"] == "application/zip"
    every = drawn(cats.worker.model, [4, 2, 4], [2, 0, 2])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        names = ["0000-größe-seed000004.png", "0001-cat-seed000002.png", "0002-größe-seed000004.png"]
        assert file.namelist() == names
        for name, image in zip(names, every, strict=True):
            assert (opened(file.read(name)) == image).all()


def test_json_has_them_in_base64(cats):
    answer = cats.generate(n=4, answer="json")
    pictures, first = answer.json()["pictures"], int(answer.headers["x-seed"])
    assert [one["seed"] for one in pictures] == list(range(first, first + 4))
    for one, image in zip(pictures, drawn(cats.worker.model, range(first, first + 4)), strict=True):
        assert one["type"] == "image/png"
        assert one["class"] == cats.worker.model.classes[one["seed"] % 3]
        assert (opened(base64.b64decode(one["data"])) == image).all()


def test_whoever_asks_beside_the_picture_is_the_same(cats):
    alone = {seed: cats.generate(seeds=[seed]).content for seed in range(12)}
    before = cats.figure("ganvas_batch_pictures_count")
    with ThreadPoolExecutor(36) as pool, cats.held():
        answers = [(seed, pool.submit(cats.generate, seeds=[seed])) for seed in list(alone) * 3]
        until(lambda: cats.figure("ganvas_queue_pictures") == 36)
    assert cats.figure("ganvas_batch_pictures_count") - before == 6  # as often as rows 0 to 3 are asked for
    for seed, answer in answers:
        assert answer.result().content == alone[seed]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"classes": ["dogg"]}', 422, "did you mean 'dog'?"),
        (b'{"clases": ["dog"]}', 422, "there is no 'clases'; did you mean 'classes'?"),
        (b'{"n": 2, "seeds": [1]}', 422, "two ways"),
        (b'{"n": 0}', 422, "greater than or equal to 1"),
        (b'{"n": 21}', 422, "less than or equal to 20"),
        (b'{"n": "3"}', 422, "no whole number"),
        (b'{"n": true}', 422, "no whole number"),
        (b'{"n": 1.5}', 422, "integer"),
        (b'{"n": 1e999}', 422, "finite"),
        (b'{"n": ' + b"9" * 5000 + b"}", 400, "parsing"),
        (b'{"seeds": []}', 422, "at least 1"),
        (b'{"seeds": [-1]}', 422, "greater"),
        (b'{"seeds": [9007199254740992]}', 422, "less"),
        (b'{"seeds": [' + b"1," * 20 + b"1]}", 422, "at most 20"),
        (b'{"truncation": NaN}', 422, "less than or equal to 10"),
        (b'{"truncation": -0.1}', 422, "greater"),
        (b'{"truncation": 1e38}', 422, "10"),
        (b'{"classes": ["\\ud800"]}', 422, "unicode"),
        (b'{"\\ud800": 1}', 422, "there is no"),
        (b'{"classes": ["' + b"x" * 10**6 + b'"]}', 422, "at most 200"),
        (b'{"' + b"x" * 10**6 + b'": 1}', 422, "there is no"),
        (b'{"answer": "jpeg"}', 422, "'picture', 'zip' or 'json'"),
        (b'{"frames": 3}', 422, "there is no 'frames'"),
        (b"[" * 10**5, 400, "parsing"),
        (b"\xff", 400, "parsing"),
        (b"{", 422, "JSON"),
        (b"[]", 422, "dictionary"),
        (b"", 422, "required"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_drawn_is_refused_in_words(cats, body, status, words):
    answer = cats.client.post("/generate", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert words in answer.text
    assert len(answer.content) < 2000


def test_other_types_routes_and_methods_are_refused(cats):
    assert cats.client.post("/generate", data={"n": "3"}).status_code == 422
    assert cats.client.get("/generate").status_code == 405
    assert cats.client.post("/translate", content=b"").status_code == 404
    assert cats.client.get("/../../etc/passwd").status_code == 404


def test_metrics_tell_what_was_done():
    with served(toy()) as server:
        server.generate(n=20)
        server.generate(n=0)
        server.client.get("/nowhere")
        told = server.client.get("/metrics")
        assert told.headers["content-type"].startswith("text/plain; version=")
        assert server.figure('ganvas_requests_total{route="/generate",status="200"}') == 1
        assert server.figure('ganvas_requests_total{route="/generate",status="422"}') == 1
        assert server.figure('ganvas_requests_total{route="other",status="404"}') == 1
        assert server.figure('ganvas_request_seconds_count{route="/generate"}') == 2
        assert server.figure("ganvas_pictures_total") == 20
        assert server.figure("ganvas_batch_pictures_sum") == 20
        assert server.figure("ganvas_batch_pictures_count") == 3
        assert server.figure("ganvas_queue_requests") == server.figure("ganvas_queue_pictures") == 0
        assert server.client.get("/healthz").json() == {"status": "ok"}


def test_clips_are_gif_or_webp():
    torch.manual_seed(0)
    network = Generator(GeneratorConfig(channels=4, width=12, height=10, widths=(4,), content=16, motion=16)).eval()
    model = Model({"generator": network}, {"data": {"rate": 20}})
    (clips,) = render(model, seeds=[0, 1], frames=5)
    with served(model) as server:
        for kind in ("gif", "webp"):
            answer = server.generate(seeds=[1], frames=5, format=kind)
            assert answer.headers["content-type"] == f"image/{kind}"
            image = Image.open(io.BytesIO(answer.content))
            assert (image.size, image.n_frames) == ((12, 10), 5)
            image.seek(4)
            image.load()
            assert image.info["duration"] == 50
        shown = np.asarray(image.convert("RGBA"))
        assert (np.where(shown[..., 3:], shown, 0) == np.where(shown[..., 3:], straight(clips[1])[4], 0)).all()
        assert Image.open(io.BytesIO(server.generate(n=3).content)).n_frames == 8
        assert server.generate(n=1, frames=65).status_code == 422
        assert len(server.generate(n=2, answer="json").json()["pictures"]) == 2


def test_pictures_with_alpha_keep_it():
    with served(toy(channels=4)) as server:
        image = Image.open(io.BytesIO(server.generate(seeds=[3]).content))
        assert (np.asarray(image) == np.asarray(to_pil(drawn(server.worker.model, [3])[0]))).all()


def test_a_model_that_breaks_down_is_a_500_and_not_the_end(cats, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("ganvas.sample.finite", lambda _: cats.worker.model.label("no"))
        answer = cats.generate(n=1)
    assert (answer.status_code, answer.json()["detail"][:21]) == (500, "the model knows no cl")
    assert cats.generate(n=1).status_code == 200


def test_the_page_asks_nobody_else(cats, tmp_path):
    page = cats.client.get("/", follow_redirects=True)
    assert page.url.path == "/docs"
    assert "http" not in page.text.replace("http-equiv", "")
    if not Path(CHROMIUM).exists():
        if os.environ.get("GANVAS_BROWSER") == "required":
            pytest.fail(f"there is no browser at {CHROMIUM}")
        pytest.skip(f"there is no browser at {CHROMIUM}")
    playwright = pytest.importorskip("playwright.sync_api")
    asked, wrong = list[str](), list[str]()
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: wrong.append(said.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"{cats.client.base_url}/docs")
        section = page.locator("section").first
        section.locator("[name=seeds]").fill("3, 4")
        section.locator("[name=classes]").select_option(["dog"])
        section.get_by_role("button").click()
        image = section.locator("output img")
        image.wait_for(timeout=20_000)
        assert image.evaluate("image => image.naturalWidth") == grid(drawn(cats.worker.model, [3, 4]), 2).width
        browser.close()
    assert wrong == []
    assert {url.removeprefix("blob:").startswith(str(cats.client.base_url)) for url in asked} == {True}
