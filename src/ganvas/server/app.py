"""The command `serve`: a model behind HTTP, on this machine alone unless one says otherwise."""

import dataclasses
import math
import os
import socket

from ganvas.console import say
from ganvas.errors import UserError
from ganvas.options import takes
from ganvas.sample import load
from ganvas.server.options import ServeOptions
from ganvas.studio.places import loopback
from ganvas.watch import stop_signals

PORTS = 65535
IDLE = 30
"""Seconds for which a connection is kept that asks nothing."""


@takes(ServeOptions)
def serve(options: ServeOptions) -> None:
    """Serve a model until Ctrl-C, or a polite kill; requests that are under way then are answered first.

    Raises:
        UserError: a package is missing, any option that cannot be followed, an address that others reach without a
            token, or one that is taken, or a model that cannot be loaded or makes no numbers.
    """
    if options.token is None:
        options = dataclasses.replace(options, token=os.environ.get("GANVAS_TOKEN"))
    _check(options)
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(f"serving needs {error.name}; pip install 'ganvas[serve]'") from error
    from ganvas.server.api import make_app
    from ganvas.server.counters import Counters
    from ganvas.server.worker import Worker

    with _bound(options.host, options.port) as place:
        model = load(options.run, weights=options.weights, device=options.device, trust=options.trust)
        counters = Counters()
        worker = Worker(model, counters)
        try:
            worker.try_out()
            config = uvicorn.Config(
                make_app(worker, counters, options), log_config=None, access_log=False, lifespan="off", ws="none",
                server_header=False, timeout_keep_alive=IDLE, timeout_graceful_shutdown=math.ceil(options.timeout) + 1,
            )  # fmt: skip
            place.listen(config.backlog)
            host, port = place.getsockname()[:2]
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            say(f"{model.path} is served at {url}; {url}/docs shows how to ask, and Ctrl-C ends it")
            with stop_signals():  # uvicorn passes on what it caught
                uvicorn.Server(config).run(sockets=[place])
        finally:
            worker.close()


def _check(options: ServeOptions) -> None:
    if not 0 <= options.port <= PORTS:
        raise UserError(f"--port {options.port} is not possible; it is from 0 to {PORTS}")
    for name in ("queue", "max_n", "max_mb", "max_pixels", "timeout"):
        if not 0 < (value := getattr(options, name)) < math.inf:
            raise UserError(f"--{name.replace('_', '-')} {value:g} is not possible; it is above 0")
    if options.token == "":
        raise UserError("the token is empty; anyone could send that")
    if options.token is None and not loopback(options.host):
        raise UserError(f"others can reach {options.host}; say --token, too, or leave out --host")


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket of an address, before the long imports.

    Raises:
        UserError: it is not this machine's, or its port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        place = socket.socket(family, kind, protocol)
        try:
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was left a moment ago
            place.bind(address)
        except OSError:
            place.close()
            raise
    except OSError as error:
        raise UserError(f"cannot serve at {host}:{port} ({error.strerror})") from error
    return place
