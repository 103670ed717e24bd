"""From tensors to pictures: numbers, grids, PNG, GIF and MP4.

Arrays are uint8, [N, H, W, C] or [H, W, C], with C = 1 grey, 3 colour or 4 colour and transparency. Four
channels are premultiplied throughout (a colour is at most its alpha); only what leaves us has straight alpha.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from ganvas.errors import UserError
from ganvas.files import atomic_file

if TYPE_CHECKING:
    import torch

Pixels: TypeAlias = npt.NDArray[np.uint8]

COMFORT = 64
"""The longer side, in pixels, from which on a picture in a grid is shown as it is."""
GAP = 6
"""Pixels between the pictures of a grid."""
RATE = 10.0
"""Frames a second of clips that do not tell."""
LARGEST = 2**28
"""Pixels of the largest grid."""


def to_uint8(images: "torch.Tensor") -> Pixels:
    """Map images [..., C, H, W] in [-1, 1] to [..., H, W, C] in 0 to 255.

    The inverse of `x / 127.5 - 1`, rounded to the nearest and clamped; NaN must not come here.
    """
    levels = images.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return levels.byte().movedim(-3, -1).contiguous().cpu().numpy()


def straight(images: Pixels) -> Pixels:
    """Undo the premultiplication of [..., 4]; images of 1 or 3 channels come back as they are.

    What is wholly transparent becomes black, and a colour above its alpha (networks make some) becomes full.
    """
    if images.shape[-1] != 4:
        return images
    colour, alpha = images[..., :3].astype(np.uint32), images[..., 3:].astype(np.uint32)
    divisor = np.maximum(alpha, 1)
    colour = np.where(alpha > 0, np.minimum((colour * 255 + divisor // 2) // divisor, 255), 0)
    return np.concatenate([colour, alpha], axis=-1).astype(np.uint8)


def to_pil(image: Pixels) -> Image.Image:
    """Make [H, W, 1] a grey, [H, W, 3] a colour and [H, W, 4], premultiplied, a straight RGBA picture."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else straight(image))


def with_channels(images: Pixels, channels: int) -> Pixels:
    """Give images [N, H, W, C] more channels: grey in each colour, and opaque."""
    if images.shape[-1] == 1 < channels:
        images = images.repeat(3, axis=-1)
    missing = channels - images.shape[-1]
    return np.pad(images, ((0, 0), (0, 0), (0, 0), (0, missing)), constant_values=255)


def near_square(n: int) -> tuple[int, int]:
    """Return the columns and rows of the squarest grid with room for n pictures, rather wide than high."""
    columns = math.isqrt(max(n, 1) - 1) + 1
    return columns, -(-max(n, 1) // columns)


def whole_factor(width: int, height: int, target: int) -> int:
    """Return the smallest whole factor that brings the longer side to at least `target` pixels."""
    return max(1, -(-target // max(width, height)))


def grid_size(width: int, height: int, columns: int, rows: int, scale: int | None = None) -> tuple[int, int]:
    """Return the width and height, in pixels, of the `grid` of pictures of a width and height.

    Raises:
        UserError: it would have more than 2^28 pixels.
    """
    scale = scale or whole_factor(width, height, COMFORT)
    size = columns * (width * scale + GAP) - GAP, rows * (height * scale + GAP) - GAP
    if size[0] * size[1] > LARGEST:
        raise UserError(f"a grid of {columns}x{rows} would be {size[0]} x {size[1]} pixels; ask for a smaller one")
    return size


def tile(images: Pixels, columns: int, rows: int | None = None, scale: int | None = None) -> Pixels:
    """Lay images [N, H, W, C] out row by row on one canvas [H', W', C].

    Args:
        images: what to show; those that find no cell are left out.
        columns: pictures in a row.
        rows: by default as many as needed; cells without a picture stay white (transparent if C is 4).
        scale: whole factor of enlargement, by nearest neighbour; by default to at least 64 pixels.

    Raises:
        UserError: the canvas would have more than 2^28 pixels.
    """
    n, height, width, channels = images.shape
    rows = rows or max(1, -(-n // columns))
    scale = scale or whole_factor(width, height, COMFORT)
    across, down = grid_size(width, height, columns, rows, scale)
    canvas = np.full((down, across, channels), 0 if channels == 4 else 255, np.uint8)
    for index, image in enumerate(images[: columns * rows]):
        y, x = index // columns * (height * scale + GAP), index % columns * (width * scale + GAP)
        canvas[y : y + height * scale, x : x + width * scale] = image.repeat(scale, 0).repeat(scale, 1)
    return canvas


def grid(images: Pixels, columns: int, rows: int | None = None, scale: int | None = None) -> Image.Image:
    """Show images [N, H, W, C] as one picture; see `tile` for the arguments."""
    return to_pil(tile(images, columns, rows, scale))


def still(images: Pixels) -> Pixels:
    """Return the middle frames [N, H, W, C] of clips [N, T, H, W, C], and pictures [N, H, W, C] as they are."""
    return images[:, images.shape[1] // 2] if images.ndim == 5 else images


def moving_grid(clips: Pixels, columns: int, rows: int | None = None, scale: int | None = None) -> Iterator[Pixels]:
    """Yield the frames [H', W', C] of one clip that shows clips [N, T, H, W, C] side by side; see `tile`."""
    return (tile(clips[:, t], columns, rows, scale) for t in range(clips.shape[1]))


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG that is there whole or not at all (see `atomic_file`; not waiting for the disk).

    Raises:
        OSError: it cannot be written.
    """
    with atomic_file(path, sync=False) as file:
        image.save(file, format="PNG")


def save_moving_png(frames: Iterable[Pixels], path: Path, fps: float) -> None:
    """Write frames [H, W, C] as a PNG that moves, for ever; where that is not known, its first frame is seen.

    Raises:
        OSError: it cannot be written.
    """
    first, *others = map(to_pil, frames)
    with atomic_file(path, sync=False) as file:
        first.save(file, format="PNG", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)


def check_film(path: Path, fps: int) -> None:
    """See to it that frames can be written to a file of that name, before any is drawn.

    Raises:
        UserError: its ending is not .gif, .mp4 or .png, the rate is not possible, or a package is missing.
    """
    ending = path.suffix.lower()
    if ending not in (".gif", ".mp4", ".png"):
        raise UserError(f"cannot write a film to {path}; the name must end in .gif, .mp4 or .png")
    fastest = 50 if ending == ".gif" else 1000
    if not 1 <= fps <= fastest:
        raise UserError(f"a {ending} cannot show {fps} frames a second; ask for 1 to {fastest}")
    if ending == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise UserError("an .mp4 needs one more package: pip install 'ganvas[video]'") from error


def save_film(frames: Iterable[Pixels], path: Path, fps: float) -> None:
    """Write frames [H, W, C] as the ending of the path says, .gif or .mp4; see `save_gif` and `save_mp4`.

    Raises:
        OSError: it cannot be written.
    """
    if path.suffix.lower() == ".gif":
        save_gif(frames, path, fps)
    else:
        save_mp4(frames, path, Fraction(fps).limit_denominator(1000))


def save_gif(frames: Iterable[Pixels], path: Path, fps: float) -> None:
    """Write frames [H, W, C] as a GIF that repeats for ever, each with the 256 colours that suit it best.

    A GIF knows hundredths of a second, so frames differ by one to keep the rate; and it knows no half
    transparency, so that a pixel of alpha below 128 is transparent and any other opaque.

    Raises:
        OSError: it cannot be written.
    """
    images = _palettes(frames, fps)
    first = next(images)
    with atomic_file(path, sync=False) as file:
        first.save(file, format="GIF", save_all=True, append_images=images, loop=0, disposal=2, optimize=False)


def _palettes(frames: Iterable[Pixels], fps: float) -> Iterator[Image.Image]:
    for index, frame in enumerate(frames):
        image = to_palette(frame)
        image.info["duration"] = 10 * int(100 * (index + 1) // fps - 100 * index // fps)
        yield image


def to_palette(frame: Pixels) -> Image.Image:
    """Make a picture of at most 256 colours of [H, W, C], as GIF has them; of transparency there is all or none."""
    image = to_pil(frame)
    if image.mode == "RGBA":
        image = image.convert("RGB").quantize(255)
        image.paste(255, (0, 0, *image.size), Image.fromarray(frame[..., 3] < 128))
        image.info["transparency"] = 255
    elif image.mode == "RGB":
        image = image.quantize(256)
    return image


def save_mp4(frames: Iterable[Pixels], path: Path, fps: Fraction) -> None:
    """Write frames [H, W, C] as an H.264 film, transparency on white; needs PyAV, the extra `video`.

    Sides are made even, as the format needs them, by repeating the last row or column.

    Raises:
        OSError: it cannot be written.
    """
    import av

    frames = iter(frames)
    first = next(frames)
    height, width = (side + side % 2 for side in first.shape[:2])
    with atomic_file(path, sync=False) as file, av.open(file, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=fps, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in itertools.chain([first], frames):
            opaque = _on_white(frame)
            even = np.pad(opaque, ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)), "edge")
            film.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        film.mux(stream.encode())


def _on_white(frame: Pixels) -> Pixels:
    if frame.shape[-1] == 4:
        lit = frame[..., :3] + (255 - frame[..., 3:].astype(np.uint16))
        return np.asarray(np.minimum(lit, 255), np.uint8)
    return np.concatenate([frame] * (3 // frame.shape[-1]), axis=-1)
