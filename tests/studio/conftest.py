"""A studio over tiny runs, with no way to any other machine, and somebody who looks at it in a browser."""

import base64
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ganvas
from ganvas.following import Progress, follow, runs

CHROMIUM = "/usr/bin/chromium"
REQUIRED = os.environ.get("GANVAS_BROWSER") == "required"
PASSWORD = "me:secret"
TINY: dict[str, Any] = {
    "features": "none",
    "precision": "fp32",
    "threads": 1,
    "batch": 8,
    "set": ("generator.widths=(8,8)", "discriminator.widths=(8,8)"),
}
WALL = """
import os, socket
real, names = socket.socket.connect, socket.getaddrinfo
def refuse(what):
    with open(os.environ["GANVAS_CALLS"], "a") as file:
        file.write(f"{what}\\n")
    raise OSError(f"no way to {what}")
def connect(self, address):
    local = self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "0.0.0.0", "localhost")
    return real(self, address) if local else refuse(address)
def getaddrinfo(host, *args, **kwargs):
    local = host in (None, "", "127.0.0.1", "::1", "0.0.0.0", "localhost", b"127.0.0.1")
    return names(host, *args, **kwargs) if local else refuse(host)
socket.socket.connect, socket.getaddrinfo = connect, getaddrinfo
"""
"""Run by Python when it starts: what a server or a training asks of another machine fails, and is written down."""


def missing(what: str) -> None:
    """Skip, or fail where the browser must be there."""
    if REQUIRED:
        pytest.fail(what)
    pytest.skip(what)


@dataclass
class Studio:
    """A page that is served."""

    root: Path
    """Of all: `runs`, and the pictures in `data`."""
    port: int
    process: "subprocess.Popen[str]"
    said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def wait(self) -> "Studio":
        """Wait until it serves."""
        until(lambda: "the studio is at" in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        return self

    @property
    def log(self) -> Path:
        return self.root / f"studio-{self.port}.txt"


def until(holds: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.05)


def wait_for(folder: Path, holds: Callable[[Progress], bool], seconds: float = 60.0) -> Progress:
    """Wait until a run is as it is to be."""
    until(lambda: holds(follow(folder)), seconds)
    return follow(folder)


def serve(root: Path, *words: str) -> Studio:
    """Begin to serve, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ganvas", "studio", str(root / "runs"), "--data-root", str(root / "data")]
    with (root / f"studio-{port}.txt").open("w") as log:
        process = subprocess.Popen(
            [*command, "--no-browser", f"--port={port}", *words], stdout=log, stderr=subprocess.STDOUT, text=True,
            cwd=root, env=os.environ | {"PYTHONPATH": str(root / "wall"), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    return Studio(root, port, process)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Pictures of three colours, pairs of them, and clips; nothing is left running."""
    if not shutil.which("python3") or sys.platform == "win32":
        pytest.skip("trainings in the background need a POSIX system")
    root = tmp_path_factory.mktemp("studio")
    for name in ("runs", "data", "wall"):
        (root / name).mkdir()
    (root / "wall" / "sitecustomize.py").write_text(WALL)
    random = np.random.default_rng(0)
    for i in range(60):
        name, low = ("red", "green", "blue")[i % 3], np.full(3, 20)
        low[i % 3] = 180
        path = root / "data" / "colours" / name / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(random, low).save(path)
    (root / "data" / "pairs").mkdir()
    for i in range(24):
        Image.fromarray(random.integers(0, 255, (16, 32, 3), np.uint8)).save(root / "data" / "pairs" / f"{i}.png")
    (root / "data" / "clips").mkdir()
    for i in range(24):
        first, *others = (picture(random, np.full(3, 30 * k), 16) for k in range(4))
        first.save(root / "data" / "clips" / f"{i}.gif", save_all=True, append_images=others)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANVAS_CACHE", str(root / "cache"))
        patch.setenv("GANVAS_CALLS", str(root / "calls.txt"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield root
    for run in runs(root / "runs"):
        if run.trainer and run.trainer.here and run.trainer.pid != os.getpid():
            os.kill(run.trainer.pid, signal.SIGKILL)
    assert not (root / "calls.txt").exists(), (root / "calls.txt").read_text()


def picture(random: np.random.Generator, low: Any, side: int = 8) -> Image.Image:
    return Image.fromarray((low + random.integers(0, 60, (side, side, 3))).astype(np.uint8))


@pytest.fixture(scope="session")
def studio(root: Path) -> Iterator[Studio]:
    """A page over four finished runs."""
    pytest.importorskip("gradio", reason="gradio is not installed")
    studio = serve(root)
    try:
        common = TINY | {"out": root / "runs"}
        colours = common | {"data": root / "data" / "colours", "conditional": "yes", "snap": "5steps"}
        ganvas.train(**colours, name="first", budget="5steps")
        ganvas.train(**colours, name="colours", budget="15steps", seed=1)
        ganvas.train(**common | {"set": ()}, data=root / "data" / "pairs", name="pairs", task="paired", budget="4steps")
        ganvas.train(
            **common | {"set": ()}, data=root / "data" / "clips", name="clips", task="video", frames=4, budget="3steps"
        )
        yield studio.wait()
    finally:
        studio.process.terminate()
        assert studio.process.wait(20) == 0
    assert "studio/handling.py" not in studio.log.read_text(), studio.log.read_text()  # of what was not foreseen


@pytest.fixture
def locked(studio: Studio) -> Iterator[Studio]:
    """A second page over the same runs, for others too, who are asked for a password."""
    locked = serve(studio.root, "--host=0.0.0.0", f"--auth={PASSWORD}")
    yield locked.wait()
    locked.process.terminate()
    locked.process.wait(20)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser that finds no other machine."""
    if not Path(CHROMIUM).exists():
        missing(f"there is no browser at {CHROMIUM}")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    alone = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    quiet = ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", alone, *quiet]
        )
        yield browser
        browser.close()


class Person:
    """Somebody who looks at the page."""

    def __init__(self, page: Any, studio: Studio, shots: Path) -> None:
        self.page, self.studio, self.shots = page, studio, shots
        self.wrong: list[str] = []
        page.set_default_timeout(20_000)
        page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", self._home)
        page.on("response", lambda got: self.wrong.append(f"{got.status} {got.url}") if got.status >= 400 else None)

    def _home(self, request: Any) -> None:
        if not request.url.startswith((self.studio.url, "data:", "blob:")):
            self.wrong.append(f"asked for {request.url}")

    def open(self, tab: str) -> None:
        """Open the page at a tab."""
        self.page.goto(self.studio.url)
        self.page.get_by_role("button", name="Look at them").wait_for()
        self.turn_to(tab)

    def turn_to(self, tab: str) -> None:
        self.page.get_by_role("tab", name=tab).click()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).locator("visible=true").click()

    def unfold(self, name: str) -> None:
        self.page.get_by_role("button", name=name).locator("visible=true").click()

    def choose(self, label: str, value: str) -> None:
        """Choose from a list, or write what is not in it."""
        box = self.page.get_by_label(label, exact=True).locator("visible=true")

        def chosen() -> bool:
            box.fill(value)
            self.page.wait_for_timeout(200)  # for the list to be only of what is like it
            box.press("Enter")
            box.press("Escape")
            box.blur()
            return bool(box.input_value() == value)

        until(chosen)

    def slide(self, label: str, value: float) -> None:
        box = self.page.get_by_label(f"number input for {label}").locator("visible=true").first
        box.fill(str(value))
        self.page.wait_for_timeout(200)  # else what is asked for may be asked with the value before
        box.press("Enter")
        box.blur()

    def reads(self, text: str, seconds: float = 40.0) -> None:
        """Wait until the page says something."""
        self.page.get_by_text(text).locator("visible=true").first.wait_for(timeout=1000 * seconds)

    def drop(self, place: int, *paths: Path) -> None:
        """Give files to the n-th place of a tab that takes some."""
        given = self.page.locator("[role=tabpanel]:visible input[type=file]").nth(place)
        given.set_input_files([str(path) for path in paths])

    def save(self, name: str) -> Path:
        """Download what a button gives."""
        with self.page.expect_download() as download:
            self.page.get_by_text(name, exact=True).locator("visible=true").first.click()
        path = self.shots / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def picture(self, locator: str) -> np.ndarray[Any, Any]:
        """Return the pixels of an image that is shown."""
        image = self.page.locator(locator).locator("visible=true").first
        image.wait_for()
        until(lambda: image.evaluate("image => image.complete && image.naturalWidth > 0"))
        return np.asarray(Image.open(self.fetched(image.get_attribute("src"))).convert("RGB"))

    def fetched(self, url: str) -> io.BytesIO:
        if url.startswith("data:"):
            return io.BytesIO(base64.b64decode(url.partition(",")[2]))
        return io.BytesIO(self.page.request.get(url).body())

    def leave(self) -> None:
        self.page.context.close()
        assert self.wrong == []

    def shoot(self, name: str) -> None:
        """Keep how the page looks, on a desk and on a phone, where nothing may stick out."""
        for width in (1280, 390):
            self.page.set_viewport_size({"width": width, "height": 900})
            self.page.wait_for_timeout(250)
            self.page.screenshot(path=self.shots / f"{name}-{width}.png", full_page=True)
            assert self.page.evaluate("document.documentElement.scrollWidth") <= width
            assert not self.page.locator(".overflow-menu:visible").count()  # all tabs are seen
        self.page.set_viewport_size({"width": 1280, "height": 900})


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[[Studio], Person]]:
    """Lets somebody look at a page, to whom nothing may go wrong."""
    there = []

    def come(studio: Studio) -> Person:
        shots = Path(os.environ.get("GANVAS_SCREENSHOTS") or tmp_path)
        shots.mkdir(parents=True, exist_ok=True)
        context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        there.append(Person(context.new_page(), studio, shots))
        return there[-1]

    yield come
    for person in there:
        person.leave()


@pytest.fixture
def person(visit: Callable[[Studio], Person], studio: Studio) -> Person:
    return visit(studio)
