"""From the options of the command line to a dataset: of pictures, of clips, or of two kinds to translate between."""

from ganvas.data import build, limits
from ganvas.data.dataset import Dataset
from ganvas.data.pairs import load_pairs
from ganvas.data.prepared import find_source, load_source
from ganvas.errors import UserError
from ganvas.options import TRANSLATIONS, DataOptions, check_task, takes


@takes(DataOptions)
def open_dataset(options: DataOptions) -> Dataset:
    """Open pictures by the options of the command line, preparing them the first time.

    DATA is a folder or zip of pictures, MNIST-style idx files, or digits, mnist, fashion-mnist, cifar10. To translate,
    or with a second path, they are of two kinds; with the task `paired`, equal names are partners. A task by import
    path has two kinds with a second path only, and none are partners. With the task `video`, DATA is a folder or zip of
    clips, or one film: films, animations, and folders of numbered pictures.

    DATA may also be shards of pictures, tar files in WebDataset's form: one, a folder of them, or a pattern (as
    `train-{000..009}.tar`), on this machine or beyond it (s3://, gs://, hf://, ...); or `hf:user/name`, a set of the
    Hugging Face hub.

    Returns:
        The pictures or clips; of two kinds those that the others, its `source`, are to become.

    Raises:
        UserError: nothing usable there, or not laid out as expected; one sentence says what and what to do.
    """
    return load_dataset(options)


def load_dataset(options: DataOptions) -> Dataset:
    """Do what `open_dataset` does, for options that are at hand.

    Raises:
        UserError: as there.
    """
    check_task(options.task)
    video = options.task == "video"
    if video and options.target is not None:
        raise UserError("--task video takes one place of clips; leave the second path out")
    if options.task in TRANSLATIONS or options.target is not None:
        return load_pairs(options)
    if options.direction != "AtoB":
        raise UserError(f"--direction {options.direction} is for a task that translates: {', '.join(TRANSLATIONS)}")
    recipe, fewer = build.recipe(options), limits.parse(options)
    dataset = load_source(find_source(str(options.data), clips=video), recipe, options)
    return dataset if fewer is None else limits.limit(dataset, fewer)
