"""What `ganvas serve` accepts; torch-free."""

from dataclasses import dataclass

from ganvas.options import ModelOptions


@dataclass(frozen=True)
class ServeOptions(ModelOptions):
    """Serve a model over HTTP: /generate or /translate, /healthz, /metrics, and /docs to try them."""

    host: str = "127.0.0.1"
    """The address to serve at; any that others can reach wants --token."""
    port: int = 8000
    """0 takes any that is free."""
    token: str | None = None
    """Asked for as `Authorization: Bearer TOKEN`; also from the environment, GANVAS_TOKEN."""
    queue: int = 64
    """Requests for pictures that are taken in at a time; beyond, the answer is 503."""
    max_n: int = 64
    """Pictures that one request may ask for."""
    max_mb: float = 10.0
    """Of a request's body."""
    max_pixels: int = 4_000_000
    """Of a picture to translate."""
    timeout: float = 30.0
    """Seconds that a request may take; then the answer is 504."""
