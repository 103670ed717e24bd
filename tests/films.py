"""Tiny clips."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image


def greys(n: int, side: int = 16) -> np.ndarray:
    """Return frames [n, side, side, 3], of which the i-th is of the level 10 * i (up to 250, then from 0 again)."""
    return np.broadcast_to((10 * (np.arange(n) % 26)).astype(np.uint8)[:, None, None, None], (n, side, side, 3)).copy()


def animate(path: Path, n: int = 4, duration: int | list[int] = 100, **how: object) -> Path:
    """Write an animation of such frames; durations are in ms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = map(Image.fromarray, greys(n))
    form = "PNG" if path.suffix == ".apng" else None
    how = {"lossless": True} | how if path.suffix == ".webp" else how
    first.save(path, form, save_all=True, append_images=others, duration=duration, **how)
    return path


def shoot(path: Path, times: list[int] | int = 8, codec: str = "libx264", clock: int = 25, **options: str) -> Path:
    """Write a film whose frames are shown at these ticks of the clock."""
    times = list(range(times)) if isinstance(times, int) else times
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as film:
        stream = film.add_stream(codec, rate=clock)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, clock)
        noise = np.random.default_rng(0).integers(0, 256, (len(times), 16, 16, 3), np.uint8)
        for time, pixels in zip(times, noise, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, clock)
            film.mux(stream.encode(frame))
        film.mux(stream.encode())
    return path


def silence(path: Path) -> Path:
    """Write a film that has sound only."""
    with av.open(str(path), "w") as sound:
        stream = sound.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        sound.mux(stream.encode(frame))
        sound.mux(stream.encode())
    return path
