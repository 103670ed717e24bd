"""What a server counts, for Prometheus."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ganvas.studio.guard import App, Message, Receive, Send

TIMES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds at which the latencies are parted."""
SIZES = (1, 2, 4, 8, 16, 32)
"""Pictures at which the batches are."""


class Counters:
    """One server's figures."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "ganvas_requests", "Requests that were answered.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "ganvas_request_seconds", "From a request to the end of its answer.", ["route"],
            buckets=TIMES, registry=registry,
        )  # fmt: skip
        self.queue = Gauge("ganvas_queue_requests", "Requests for pictures that are under way.", registry=registry)
        self.waiting = Gauge("ganvas_queue_pictures", "Pictures that wait for the model.", registry=registry)
        self.batches = Histogram(
            "ganvas_batch_pictures", "Pictures that the model made at once.", buckets=SIZES, registry=registry
        )
        self.pictures = Counter("ganvas_pictures", "Pictures, or clips, that the model made.", registry=registry)

    def made(self, pictures: int) -> None:
        """Count a batch."""
        self.batches.observe(pictures)
        self.pictures.inc(pictures)

    def text(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        return generate_latest(self.registry)


class Counted:
    """Stands before an app and counts its answers."""

    def __init__(self, app: App, counters: Counters, routes: frozenset[str]) -> None:
        """Stand there.

        Args:
            app: what is asked.
            counters: what is counted with.
            routes: those that are told apart; all else is `other`, as there is no end of it.
        """
        self.app, self.counters, self.routes = app, counters, routes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begin, status = time.perf_counter(), "500"  # which is sent where the app fails

        async def seen(message: Message) -> None:
            nonlocal status
            status = str(message.get("status", status))
            await send(message)

        try:
            await self.app(scope, receive, seen)
        finally:
            route = scope["path"] if scope["path"] in self.routes else "other"
            self.counters.requests.labels(route, status).inc()
            self.counters.seconds.labels(route).observe(time.perf_counter() - begin)
