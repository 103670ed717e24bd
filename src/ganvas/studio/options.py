"""What `ganvas studio` accepts; torch-free."""

from dataclasses import dataclass

import tyro.conf


@dataclass(frozen=True)
class StudioOptions:
    """Open a page in the browser: train, watch, explore, translate and augment there."""

    runs: tyro.conf.Positional[str] = "runs"
    """The folder that holds the runs."""
    data_root: str = "."
    """The folder whose pictures the page may read."""
    host: str = "127.0.0.1"
    """The address to serve at; any that others can reach wants --auth."""
    port: int | None = None
    """By default the first free one from 7860."""
    auth: str | None = None
    """user:password, to be asked for."""
    no_browser: bool = False
    """Only serve; open no browser."""
