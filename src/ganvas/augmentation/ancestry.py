"""What a GAN's training started from, by --init, and whether that has seen the test part of a proof."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ganvas.augmentation.leaks import hashes
from ganvas.data import Dataset, load_dataset
from ganvas.errors import UserError
from ganvas.run import Run, data_options, run_of
from ganvas.sample import Model


def refuse_start(model: Model, dataset: Dataset, fit: str) -> str | None:
    """See that what a model's training started from, and that from, and so on, has seen no test picture.

    Args:
        model: from a file; one that lies in a run belongs to it.
        dataset: of the proof. What was trained on exactly this has not seen its test part.
        fit: how the dataset's pictures were brought to their size.

    Returns:
        A warning where that cannot be told.

    Raises:
        UserError: some test pictures have been trained on.
    """
    assert model.path is not None
    run, folder = run_of(model.path), model.path.parent
    if run is None and "init" not in model.about:
        return (
            "It is not known what the GAN's training started from; if that has seen test pictures, nothing is proved."
        )
    init = run.plan.options.get("init") if run else model.about["init"]
    chain, sure, passed = list[str](), True, set[Path]()
    while init:
        chain.append(str(init))
        run = _started(str(init), folder)
        if run is None or run.folder in passed:
            sure = False
            break
        folder = run.folder
        passed.add(folder)
        seen = _seen(run, dataset, fit)
        if seen:
            raise UserError(
                f"the training of {model.path} started from {_words(chain)}, whose training part has {seen:,} of "
                "the test pictures: nothing is proved so; train it without --init"
            )
        sure &= seen is not None
        init = run.plan.options.get("init")
    if sure:
        return None
    told = "whether test pictures were seen there cannot be told, and if they were, nothing is proved."
    return f"The GAN's training started from {_words(chain)}; {told}"


def _started(init: str, folder: Path) -> Run | None:
    """Return the run that an --init means, where a run's folder is known; None if it is gone, or none.

    It was named from where that run was trained, which is mostly above its folder, or else from here.
    """
    try:
        path = Path(init).expanduser()
        places = [up / path for up in (*folder.resolve().parents, Path.cwd())]
        found = (place for place in places if place.is_file() or (place / "config.json").is_file())
        return run_of(next(found, path).resolve())
    except (UserError, OSError, ValueError, RuntimeError):  # broken, locked, or of nobody's home
        return None


def _seen(run: Run, dataset: Dataset, fit: str) -> int | None:
    """Return how many test pictures a run was trained on; None where its pictures are gone, or not as they were."""
    digest, source = run.plan.data.get("digest"), run.plan.data.get("source")
    if digest == dataset.digest:
        return 0
    if not source:
        return None
    theirs = data_options(run, str(source), skip_bad=True)
    shape: dict[str, Any] = {"size": f"{dataset.width}x{dataset.height}", "channels": str(dataset.channels), "fit": fit}
    try:
        changed = load_dataset(theirs).digest != digest
        data = load_dataset(dataclasses.replace(theirs, **shape))
    except UserError:
        return None
    test, train = (hashes(dataset.images[dataset.rows[part]]) for part in ("test", "train"))
    fresh = np.setdiff1d(test, train)  # as a proof leaves out those that are in both
    seen = int(np.isin(fresh, hashes(data.images[data.rows["train"]])).sum())
    return None if changed and not seen else seen


def _words(chain: list[str]) -> str:
    return ", and that from ".join(chain)
