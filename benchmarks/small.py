"""Small data: the kernel distance to held-out pictures after training on 100 to 1,000, with augmentation and without.

Each DATA is cut once: `--held` pictures are held out for the report, and each training takes the first of the rest.
Pictures of one name (the emoji of two makers) stay on one side.
"""

import json
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from report import Row, report
from tools import ganvas, parse

ENDINGS = (".png", ".jpg")


def main() -> None:
    """Train and evaluate with each set, number of pictures and augmentation."""
    options = parse(
        __doc__,
        data=(["flowers", "emoji.zip"], ["digits"]),
        numbers=([100, 300, 1000], [100]),
        augment=(["no", "yes"], ["no", "yes"]),
        held=(1000, 100),
        budget=("20m", "5s"),
        seeds=(1, 1),
    )
    for data in map(Path, options.data):
        rows, details = [], []
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            pictures = mixed(unpacked(data, folder / "all"))
            groups = {n: cut(pictures, options.held, n, folder / f"{data.stem}-{n}") for n in options.numbers}
            for number, group in groups.items():
                for augment in options.augment:
                    results = [result(group, augment, options, seed) for seed in range(options.seeds)]
                    details += results
                    name = f"{number} pictures, augmentation {augment}"
                    rows.append(Row(name, "", [each["kernel"]["value"] for each in results], note=words(results[0])))
        about = {"data": data.stem, "size": "64x64", "budget": options.budget, "measure": "kernel distance"}
        report(f"small-{data.stem}", about, rows, details)


def unpacked(data: Path, folder: Path) -> list[Path]:
    """Return the pictures of a folder or a zip, in the order of their names."""
    if data.is_file():
        with zipfile.ZipFile(data) as file:
            file.extractall(folder)
        data = folder
    return sorted(path for path in data.rglob("*") if path.suffix.lower() in ENDINGS)


def mixed(pictures: list[Path]) -> list[Path]:
    """Return pictures in an order that is random, but the same each time; those of one name stay together."""
    names = sorted({path.stem for path in pictures})
    places = dict(zip(names, np.random.default_rng(0).permutation(len(names)), strict=True))
    return sorted(pictures, key=lambda path: (places[path.stem], path))


def cut(pictures: list[Path], held: int, n: int, folder: Path) -> Path:
    """Copy `held` pictures to hold out, and the n last of all, into folders as ganvas wants them."""
    last = next(i for i in range(held, len(pictures)) if pictures[i].stem != pictures[i - 1].stem)
    for part, chosen in (("test", pictures[:last]), ("train", pictures[last:][-n:])):
        (folder / part).mkdir(parents=True)
        for path in chosen:
            shutil.copy(path, folder / part / f"{path.parent.name}-{path.name}")
    return folder


def result(data: Path, augment: str, options: object, seed: int) -> dict[str, dict[str, float]]:
    """Train on a folder, and return what `ganvas evaluate` says."""
    name, size = f"{data.name}-{augment}-{seed}", ("--size", "64")
    train = ("--budget", options.budget, "--augment", augment, "--seed", seed, "--out", data.parent, "--name", name)
    ganvas("train", data, *size, *train)
    return json.loads(ganvas("evaluate", data.parent / name, "--data", data, "--n", options.held, "--json"))


def words(result: dict[str, dict[str, float]]) -> str:
    """Return what makes a kernel distance comparable."""
    kernel = result["kernel"]
    low, high, floor, ceiling = (f"{kernel[key]:.3g}" for key in ("low", "high", "floor", "ceiling"))
    about = f"n {kernel['n']}, {kernel['extractor']} at {kernel['input']}"
    return f"95 % interval {low} to {high}, floor {floor}, ceiling {ceiling}; {about}"


if __name__ == "__main__":
    main()
