"""What stands before the page: requests that no page of ours makes are refused before anything reads them."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from ganvas.studio.places import loopback

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MOST_BYTES = 2**28
"""Of one request, however many files it brings."""


class Guard:
    """Refuses requests that are too large, and where no password is asked for, those that another page makes."""

    def __init__(self, app: App, *, open: bool) -> None:
        """Stand before an app.

        Args:
            app: what is asked.
            open: no password is asked for, so that any page in the same browser could reach it: by its address, or by
                a name of its own that leads here (DNS rebinding).
        """
        self.app, self.open = app, open

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.open and not loopback(urlsplit(f"//{host}").hostname or ""):
            return await _refuse(send, 403, "this page is only for this machine; say --auth to let others in")
        if self.open and origin is not None and urlsplit(origin).netloc != host:
            return await _refuse(send, 403, "another page may not ask this one; say --auth to let others in")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return await _refuse(send, 413, f"more than {MOST_BYTES // 2**20} MiB at once")
        left = MOST_BYTES

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        return await self.app(scope, counted, send)


async def _refuse(send: Send, status: int, words: str) -> None:
    kind = (b"content-type", b"text/plain; charset=utf-8")
    await send({"type": "http.response.start", "status": status, "headers": [kind, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": f"{words}\n".encode()})
