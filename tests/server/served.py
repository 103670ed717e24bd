"""Servers for tests: in a thread, or as the command runs."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from ganvas.sample import Model
from ganvas.server.api import make_app
from ganvas.server.app import _bound
from ganvas.server.counters import Counters
from ganvas.server.options import ServeOptions
from ganvas.server.worker import Worker

TESTS = Path(__file__).parent.parent


@dataclass
class Served:
    """A model that is served in a thread of this process."""

    client: httpx.Client
    worker: Worker

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let the model do nothing inside."""
        go_on = threading.Event()
        self.worker.thread.submit(go_on.wait, 20)
        try:
            yield
        finally:
            go_on.set()

    def generate(self, **wish: Any) -> httpx.Response:
        return self.client.post("/generate", json=wish)

    def figure(self, name: str) -> float:
        """Return a figure of /metrics."""
        (line,) = [line for line in self.client.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[-1])


@contextlib.contextmanager
def served(model: Model, **options: Any) -> Iterator[Served]:
    """Serve a model inside."""
    counters = Counters()
    worker = Worker(model, counters)
    app = make_app(worker, counters, ServeOptions("none", **options))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
    place = _bound("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([place],))
    thread.start()
    until(lambda: server.started)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{place.getsockname()[1]}", timeout=30) as client:
            yield Served(client, worker)
    finally:
        server.should_exit = True
        thread.join(20)
        worker.close()


def command(path: Path, *words: str, port: int = 0) -> "subprocess.Popen[str]":
    """Begin `ganvas serve` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ganvas", "serve", str(path), "--trust", "--device=cpu", f"--port={port}", *words],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def address(process: "subprocess.Popen[str]") -> str:
    """Wait until a process serves, and return where."""
    assert process.stderr
    found = re.search(r"served at (http://\S+);", line := process.stderr.readline())
    assert found, line
    return found[1]


def until(holds: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.01)
