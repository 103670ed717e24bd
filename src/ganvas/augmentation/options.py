"""What `ganvas augment` accepts; torch-free."""

from dataclasses import dataclass

from ganvas.options import ModelOptions


@dataclass(frozen=True)
class AugmentOptions(ModelOptions):
    """Write labelled pictures of a model's classes, to train others with; or prove whether they help."""

    data: str | None = None
    """The real pictures, as `ganvas train` takes them; a run mostly knows where its own are."""
    out: str | None = None
    """Folder for the pictures; or for the proof, by default `proof` inside the run."""
    per_class: int | None = None
    """How many pictures of each class; by default as many as there are to train on."""
    balance: bool = False
    """As many of each class as it lacks to the largest one's number of training pictures."""
    min_confidence: float | None = None
    """Reject pictures that a classifier gives their class with less probability: 0.9."""
    no_copies: bool = False
    """Reject pictures that are nearly a training picture."""
    seed: int = 0
    """Other seeds give other pictures."""
    skip_bad: bool = False
    """Go on without the unreadable files, however many they are."""
    prove: bool = False
    """Train classifiers with and without such pictures, and say whether they help."""
    seeds: int | None = None
    """Classifiers of each kind in a proof; 5 by default, and at least."""
    share: float | None = None
    """Of the pictures in each update that are generated, in a proof; 0.5 by default."""
    updates: int | None = None
    """Of each classifier; 1000 by default."""
    gan_seeds: str | None = None
    """Prove it of the recipe: 3 takes, or trains, two more runs of other seeds; or their folders: runs/1,runs/2."""
