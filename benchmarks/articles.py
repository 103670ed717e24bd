"""Train the five articles' presets on some data and lay their samples out side by side.

    python benchmarks/articles.py DATA [DATA ...] [--budget 5m] [--out runs] [--picture docs/articles.png]

A row for each DATA, a column for each article; the first 16 seeds, not chosen. Runs that are finished are not repeated.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import ganvas
from ganvas.pictures import grid, save_png
from ganvas.presets import names

MARGIN, LABEL = 16, 20


def samples(data: str, preset: str, budget: str, out: str) -> Image.Image:
    """Train, or load what is trained already, and return its first 16 pictures, four by four."""
    name = f"{ganvas.open_dataset(data, size='28').name}-{preset}"
    model = ganvas.train(data, preset=preset, budget=budget, out=out, name=name)
    assert model is not None
    pictures = np.concatenate(list(ganvas.render(model, seeds=range(16))))
    return grid(pictures, 4, scale=2).convert("RGB")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--out", default="runs")
    parser.add_argument("--picture", default="docs/articles.png")
    options = parser.parse_args()
    presets = [name for name in names() if name.startswith("article-")]
    cells = [[samples(data, preset, options.budget, options.out) for preset in presets] for data in options.data]
    wide, high = cells[0][0].width + MARGIN, cells[0][0].height + MARGIN
    sheet = Image.new("RGB", (wide * len(presets) + MARGIN, high * len(cells) + MARGIN + LABEL), "white")
    draw = ImageDraw.Draw(sheet)
    for column, preset in enumerate(presets):
        draw.text((MARGIN + column * wide, MARGIN // 2), preset, fill="black", font_size=14)
        for row, line in enumerate(cells):
            sheet.paste(line[column], (MARGIN + column * wide, MARGIN + LABEL + row * high))
    save_png(sheet, Path(options.picture))


if __name__ == "__main__":
    main()
