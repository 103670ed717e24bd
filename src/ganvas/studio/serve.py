"""The command `studio`: the page, served on this machine alone unless one says otherwise."""

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from PIL import Image

from ganvas.console import say
from ganvas.errors import UserError
from ganvas.files import tell_unwritable
from ganvas.options import takes
from ganvas.studio.options import StudioOptions
from ganvas.studio.places import Places, loopback
from ganvas.watch import stop_signals

LARGEST_FILE = "64mb"
"""That is uploaded."""
PIXELS = 2**25
"""Of an uploaded picture, at most."""
WAITING = 40
"""Requests that wait for others to be done; more are refused."""
PORTS = 65535


@takes(StudioOptions)
def studio(options: StudioOptions) -> None:
    """Open the page in the browser, and serve it until Ctrl-C; trainings that it began go on without it.

    Raises:
        UserError: gradio is not installed, an address that others reach without a password, one that is taken, or a
            folder that is not there or cannot be written.
    """
    auth = _auth(options)
    if options.port is not None:
        _try_port(options.host, options.port)
    out, data = Path(options.runs).expanduser(), Path(options.data_root).expanduser()
    if not data.is_dir():
        raise UserError(f"--data-root {data} is no folder")
    with tell_unwritable(out):
        out.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="ganvas-studio-")).resolve()
    uploads = str(scratch / "uploads")
    # Read by gradio when it is imported.
    os.environ |= {"GRADIO_TEMP_DIR": uploads, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    Image.MAX_IMAGE_PIXELS = PIXELS // 2  # Pillow refuses twice that many, and only warns before
    try:
        _serve(options, auth, Places(out.resolve(), data.resolve(), scratch))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _serve(options: StudioOptions, auth: tuple[str, str] | None, places: Places) -> None:
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError(f"the studio needs gradio ({error}); pip install 'ganvas[studio]'") from error
    from starlette.middleware import Middleware

    from ganvas.studio.guard import Guard
    from ganvas.studio.page import look, page

    _stay_at_home()
    blocks = page(places).queue(max_size=WAITING, default_concurrency_limit=4)
    try:
        _, url, _ = blocks.launch(
            server_name=options.host, server_port=options.port, auth=auth, share=False, quiet=True, inbrowser=False,
            prevent_thread_lock=True, max_file_size=LARGEST_FILE, ssr_mode=False, footer_links=[],
            enable_monitoring=False, show_error=True, app_kwargs={"middleware": [Middleware(Guard, open=not auth)]},
            **look(),
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"cannot serve at {options.host} ({error})") from error
    say(f"the studio is at {url} for the runs in {places.runs}; Ctrl-C ends it, and trainings go on")
    if not options.no_browser:
        import webbrowser

        webbrowser.open(url)
    try:
        with stop_signals() as stopped:
            while not stopped():
                time.sleep(0.2)
    finally:
        blocks.close(verbose=False)


def _try_port(host: str, port: int) -> None:
    """Complain of an address that cannot be served at before the long imports.

    Raises:
        UserError: it is not this machine's, or its port is taken, or is none.
    """
    if not 1 <= port <= PORTS:
        raise UserError(f"--port {port} is not possible; it is from 1 to {PORTS}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            trial.bind(address)
    except OSError as error:
        raise UserError(f"cannot serve at {host}:{port} ({error.strerror})") from error


def _stay_at_home() -> None:
    """Let gradio fetch nothing: where a request names an address in place of an uploaded file, it would."""
    from gradio import processing_utils

    async def refuse(url: str, *_: Any, **__: Any) -> NoReturn:
        raise UserError(f"nothing is fetched from {url}; upload the file")

    processing_utils.async_ssrf_protected_download = refuse


def _auth(options: StudioOptions) -> tuple[str, str] | None:
    """Return the user and the password that are asked for.

    Raises:
        UserError: they are not written as such, or missing where others reach the address.
    """
    if options.auth is not None:
        user, colon, password = options.auth.partition(":")
        if not (user and colon and password):
            raise UserError("--auth is written user:password")
        return user, password
    if not loopback(options.host):
        raise UserError(f"others can reach {options.host}; say --auth user:password, too, or leave out --host")
    return None
