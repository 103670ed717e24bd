"""What stands before the routes: who may ask, how much, how many at a time, and for how long."""

import asyncio
import hmac
import json
from urllib.parse import urlsplit

from fastapi import HTTPException

from ganvas.server.counters import Counters
from ganvas.server.options import ServeOptions
from ganvas.studio.guard import App, Message, Receive, Send
from ganvas.studio.places import loopback

OPEN = frozenset({"/", "/docs", "/healthz", "/openapi.json"})
"""Routes that ask for no token: they tell nothing of pictures, and a browser or a probe has none."""
RETRY = {"retry-after": "1"}


class Guard:
    """Refuses requests before anything reads them, and ends those that take too long."""

    def __init__(self, app: App, options: ServeOptions, counters: Counters) -> None:
        self.app, self.options, self.counters = app, options, counters
        self.busy = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            self._check(scope)
        except HTTPException as refusal:
            return await _refuse(send, refusal)
        if scope["method"] != "POST":
            return await self._timed(scope, receive, send)
        if self.busy >= self.options.queue:
            busy = f"{self.busy} requests are under way; ask again"
            return await _refuse(send, HTTPException(503, busy, RETRY))
        self.busy += 1
        self.counters.queue.inc()
        try:
            await self._timed(scope, receive, send)
        finally:
            self.busy -= 1
            self.counters.queue.dec()

    def _check(self, scope: Message) -> None:
        """Look at a request's headers.

        Raises:
            HTTPException: 401 without the token; where none is asked for, 403 of what another page in a browser here
                could ask, by its address or by a name of its own that leads here; 413 of too large a body.
        """
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin, token = headers.get("host", ""), headers.get("origin"), self.options.token
        if token is None:
            if not loopback(urlsplit(f"//{host}").hostname or ""):
                raise HTTPException(403, "this server is only for this machine; --token lets others in")
            if origin is not None and urlsplit(origin).netloc != host:
                raise HTTPException(403, "another page may not ask this server; --token lets others in")
        elif scope["path"] not in OPEN:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), token.encode()):
                words = "the token is missing or wrong; send Authorization: Bearer TOKEN"
                raise HTTPException(401, words, {"www-authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._most:
            raise HTTPException(413, self._too_large)

    @property
    def _most(self) -> float:
        return self.options.max_mb * 1e6

    @property
    def _too_large(self) -> str:
        return f"the body is above {self.options.max_mb:g} MB"

    async def _timed(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on; what is too large or too slow ends here."""
        left, whole, begun = self._most, False, False

        async def counted() -> Message:
            nonlocal left, whole
            message = await receive()
            left -= len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if left < 0:
                raise HTTPException(413, self._too_large)
            return message

        async def answer(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self.options.timeout):
                await self.app(scope, counted, answer)
        except TimeoutError:
            if begun:  # whoever does not take the answer loses the connection
                return
            after = f"after {self.options.timeout:g} s"
            slow = HTTPException(504, f"not done {after}; ask again, or for less", RETRY)
            await _refuse(send, slow if whole else HTTPException(408, f"the request is not whole {after}"))


async def _refuse(send: Send, error: HTTPException) -> None:
    body = json.dumps({"detail": error.detail}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
    raw = [(name.encode(), value.encode()) for name, value in (headers | dict(error.headers or {})).items()]
    await send({"type": "http.response.start", "status": error.status_code, "headers": raw})
    await send({"type": "http.response.body", "body": body})
