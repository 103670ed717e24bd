"""What `ganvas serve` delivers to many clients at once, beside the model and PNG encoding alone in one process.

In turns with the bare model, whose process sleeps meanwhile: each client asks for one fresh picture, for one of a
random seed, and for --n pictures as a zip, and asks again as soon as it has them; after 503 when Retry-After says.
Server and clients may have one core between them, so what they spend of the processor is told, too.
"""

import asyncio
import contextlib
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
from report import Row, report
from tools import Worker, parse, serve

Wish = Callable[[], dict[str, Any]]


@dataclass
class Load:
    """What came of some seconds of asking."""

    seconds: float
    pictures: int = 0
    latencies: list[float] = field(default_factory=list)
    """Seconds of each answer, 503s aside."""
    refused: int = 0
    lost: list[str] = field(default_factory=list)
    """Answers that were neither pictures nor 503."""
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds of the processor."""


@dataclass
class Alone:
    """What the bare model did."""

    rate: float
    """Images a second."""
    spent: float
    """Seconds of the processor for an image."""


def main() -> None:
    """Measure, and report."""
    settings = {"seconds": (120, 5), "clients": (64, 8), "n": (64, 8), "rounds": (3, 1), "queue": (64, 64)}
    options = parse(__doc__, model=("runs/model", "runs/model"), worker=(0, 0), **settings)
    if options.worker:
        serve(bare(options.model, options.n))
        return
    every = {
        "1 fresh picture a request": lambda: {"n": 1},
        "1 picture of a random seed a request": lambda: {"seeds": [random.randrange(2**31)]},
        f"{options.n} pictures a request": lambda: {"n": options.n, "answer": "zip"},
    }
    command = [sys.executable, __file__, "--worker", "1", "--model", options.model, "--n", str(options.n)]
    alone, loads = list[Alone](), {name: list[Load]() for name in every}
    with Worker(command, None) as worker, server(options.model, options.queue, options.n) as (url, process):
        worker.rate(2)  # the first is always slower
        each = options.seconds / options.rounds
        for _ in range(options.rounds):
            for name, wish in every.items():
                alone.append(measured(worker, each / 4))
                loads[name].append(asyncio.run(asked(url, wish, options.clients, each, process)))
    rows = [
        Row(f"model and PNG alone, {options.n} at a time", "images/s", [one.rate for one in alone]),
        Row("model and PNG alone: processor", "ms an image", [1e3 * one.spent for one in alone]),
    ]
    for place, (name, some) in enumerate(loads.items()):
        rows += rows_of(name, some, alone[place :: len(every)], ">= 0.8" if name.startswith(f"{options.n} ") else "")
    about = {name: getattr(options, name) for name in ("model", "clients", "seconds", "rounds", "queue")}
    report("serve", about, rows)
    if any(load.lost for some in loads.values() for load in some):
        sys.exit(f"lost: {[load.lost for some in loads.values() for load in some]}")


def measured(worker: Worker, seconds: float) -> Alone:
    """Let the bare model work for some seconds."""
    process = psutil.Process(worker.process.pid)
    before, begin = sum(process.cpu_times()[:2]), time.perf_counter()
    rate = worker.rate(seconds)
    took = time.perf_counter() - begin
    return Alone(rate, (sum(process.cpu_times()[:2]) - before) / (rate * took))


def rows_of(name: str, loads: list[Load], alone: list[Alone], wanted: str) -> Iterator[Row]:
    """Yield what was found for one kind of request, beside the bare model just before each round."""
    rates = [load.pictures / load.seconds for load in loads]
    latencies = sorted(latency for load in loads for latency in load.latencies)
    cuts = statistics.quantiles(latencies, n=100)
    lost, refused = sum(len(load.lost) for load in loads), sum(load.refused for load in loads)
    note = f"{len(latencies)} answers, {lost} lost, {refused} times 503"
    share = [rate / bare.rate for rate, bare in zip(rates, alone, strict=True)]
    server, clients = ([load.spent[who] / load.pictures for load in loads] for who in ("server", "clients"))
    thrift = [bare.spent / one for bare, one in zip(alone, server, strict=True)]
    yield Row(f"{name}", "images/s", rates, note=note)
    yield Row(f"{name}: of the bare model's", "", share, wanted)
    yield Row(f"{name}: p50", "s", [cuts[49]])
    yield Row(f"{name}: p99", "s", [cuts[98]])
    yield Row(f"{name}: processor, server", "ms an image", [1e3 * one for one in server])
    yield Row(f"{name}: processor, clients", "ms an image", [1e3 * one for one in clients])
    yield Row(f"{name}: of the bare model's, by the server's processor time", "", thrift, wanted)


@contextlib.contextmanager
def server(model: str, queue: int, n: int) -> Iterator[tuple[str, psutil.Process]]:
    """Serve a model inside; the block gets where, and the process."""
    words = ["serve", model, "--port=0", f"--queue={queue}", f"--max-n={n}", "--timeout=120"]
    process = subprocess.Popen([sys.executable, "-m", "ganvas", *words], stderr=subprocess.PIPE, text=True)
    line = process.stderr.readline()
    found = re.search(r"served at (http://\S+);", line)
    if not found:
        sys.exit(line + process.stderr.read())
    yield found[1], psutil.Process(process.pid)
    process.terminate()
    if process.wait():
        sys.exit(process.stderr.read())


async def asked(url: str, wish: Wish, clients: int, seconds: float, process: psutil.Process) -> Load:
    """Ask with many clients for some seconds; those under way then are waited for, and count."""
    load = Load(seconds)
    before = spent(process)
    begin = time.perf_counter()
    await asyncio.gather(*(client(url, wish, begin + seconds, load) for _ in range(clients)))
    load.seconds = time.perf_counter() - begin
    load.spent = {name: after - before[name] for name, after in spent(process).items()}
    return load


async def client(url: str, wish: Wish, end: float, load: Load) -> None:
    """Ask, one request after the other, until the time is over."""
    async with httpx.AsyncClient(base_url=url, timeout=300, verify=False) as http:  # its own: a shared one is slower
        while time.perf_counter() < end:
            body = wish()
            while (answer := await timed(http, body, load)).status_code == 503:
                load.refused += 1
                await asyncio.sleep(float(answer.headers["retry-after"]))
            if answer.status_code == 200:
                load.pictures += body.get("n", 1)
            else:
                load.lost.append(f"{answer.status_code} {answer.text[:200]}")


async def timed(http: httpx.AsyncClient, body: dict[str, Any], load: Load) -> httpx.Response:
    """Return an answer, and note how long it took."""
    begin = time.perf_counter()
    answer = await http.post("/generate", json=body)
    if answer.status_code == 200:
        load.latencies.append(time.perf_counter() - begin)
    return answer


def spent(process: psutil.Process) -> dict[str, float]:
    """Return the processor's seconds so far."""
    return {"server": sum(process.cpu_times()[:2]), "clients": time.process_time()}


def bare(path: str, n: int) -> Callable[[], int]:
    """Return a function that draws n pictures, encodes them, and returns how many."""
    import ganvas
    from ganvas.sample import render
    from ganvas.server.answers import encoded

    model = ganvas.load(path)

    def step() -> int:
        for images in render(model, seeds=range(n)):
            for image in images:
                encoded(image, "gif" if model.frames else "png", model.rate)
        return n

    return step


if __name__ == "__main__":
    main()
