"""Pairs made of any photographs: their edges on the left, themselves on the right."""

import shutil
import uuid
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganvas.console import progress, say
from ganvas.data import build
from ganvas.data.dataset import Dataset
from ganvas.data.decode import to_channels
from ganvas.data.listing import Source
from ganvas.data.prepared import find_source, load_source
from ganvas.data.sources import hidden
from ganvas.errors import UserError
from ganvas.files import find_path, made_folder, printable, tell_unwritable
from ganvas.options import DataOptions, EdgesOptions, takes
from ganvas.pictures import to_pil

SIGMA = 1.0  # px, of the smoothing before differences are taken
FAINTEST = 4.0  # grey levels per px: less does not become black, lest noise be drawn on an empty picture


@takes(EdgesOptions)
def edges(options: EdgesOptions) -> Path:
    """Write pairs side by side (edges left, photograph right) as PNG, with the names and folders of the photographs.

    What `ganvas train OUT --task paired` takes. Returns the folder.

    Raises:
        UserError: as `open_dataset`; or the folder is not empty, or cannot be written.
    """
    out = Path(options.out).expanduser()
    if find_path(out) is not None and (not out.is_dir() or any(not hidden(path.name) for path in out.iterdir())):
        raise UserError(f"{printable(out)} exists and is not an empty folder; name another one")
    shared = {name: getattr(options, name) for name in ("size", "fit", "skip_bad", "workers")}
    plain, source = DataOptions(options.photos, **shared), find_source(options.photos)
    photos = load_source(source, build.recipe(plain), plain)
    with tell_unwritable(out), made_folder(out):
        # Into their places when all are there, so that an interruption leaves nothing.
        unfinished = out / f".{uuid.uuid4().hex}.tmp"
        try:
            _write(photos, _names(photos, source), unfinished)
            for path in sorted(unfinished.iterdir()):
                path.rename(out / path.name)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    say(f"{len(photos)} pairs of {2 * photos.width}x{photos.height} are in {out}")
    return out


def draw_edges(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw dark lines on white where a grey picture [H, W] changes fast; uint8 like it.

    The magnitude of the gradient after Gaussian smoothing, scaled by its 98th percentile.
    """
    from scipy.ndimage import gaussian_gradient_magnitude  # type: ignore[import-untyped]

    slope = gaussian_gradient_magnitude(picture.astype(np.float32), SIGMA)
    darkness = np.minimum(slope / max(np.percentile(slope, 98), FAINTEST), 1)
    return np.asarray(np.rint(255 * (1 - darkness)), np.uint8)


def _write(photos: Dataset, names: list[str], folder: Path) -> None:
    with progress("drawing edges", len(names)) as advance:
        for name, photo in zip(names, photos.images, strict=True):
            picture = to_pil(to_channels(photo, 3) if photos.channels == 4 else photo)  # on white
            pair = Image.new(picture.mode, (2 * photos.width, photos.height))
            pair.paste(Image.fromarray(draw_edges(np.asarray(picture.convert("L")))), (0, 0))
            pair.paste(picture, (photos.width, 0))
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            pair.save(path)
            advance(1)


def _names(photos: Dataset, source: Source) -> list[str]:
    """Return a name of each pair, ending in .png; in the part's folder, too, where an array has parts."""
    listing = source.listing()
    if listing.array is not None:
        parts = {row: f"{part}/" for part, rows in photos.rows.items() for row in rows.tolist()}
        return [f"{parts[row] if listing.parts.any() else ''}{name}.png" for row, name in enumerate(photos.names)]
    stems = [str(PurePosixPath(name).with_suffix("")) for name in photos.names]
    if len(set(stems)) < len(stems):  # a.jpg beside a.png
        stems = photos.names
    return [f"{stem}.png" for stem in stems]
