"""What goes wrong in a training, found in its figures and pictures, in words; the loop does what a finding says.

A `Health` is plain numbers, and is kept in the checkpoint: a resumed run finds the same things at the same steps.
"""

import hashlib
import math
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganvas.config import build

MOST_ROLL_BACKS = 3
"""After so many the rate is an eighth, and what still blows up has another cause."""
SKIPS = 3
"""Steps in a row that were not finite; Adam forgets one bad step, but not-finite weights never mend."""
EXPLODED = 10.0
"""Times the running median. Measured: healthy runs of MNIST, digits, tiles, emoji, flowers stay below 4, articles'
presets below 8, and runs of emoji and flowers that 1e-3 spoilt were at 30 to 700 for 3 to 5 readings."""
ABSURD = 1000.0
"""A loss; healthy ones stay below 5, and digits at 100 times their rate are at 10,000 and more from the start."""
IN_A_ROW = 3
"""Readings; a single one recovers."""
RECENT = 50
"""Readings that the running median is of; there must be a fifth of them."""
LONG = 10
"""Readings, about 20 s, and twenty times as many steps, for which a player must win before it is said."""
CERTAIN = 0.1
"""Share of the loss of a discriminator that knows nothing; healthy runs stay above 0.25 at accuracy 1."""
IGNORANT = 0.01
"""How near to that loss it may stay: digits at 10 times their gamma are at 0.023 and learn, at 1000 times at 0.004."""
COLLAPSED = 0.2
"""Of the reals' spread; one class of digits has 0.58 of all, and fair GANs 0.7 and more (in pixels)."""
RISING = 1.2
"""A spread that grows by this factor from one snapshot to the next is on its way."""
SETTLED = 0.1
"""Share of a run before which pictures are not judged: untrained generators differ little and are checkered."""
CHECKERED = 4.0
"""`checkerboard` over that of reals. Measured on 64 pictures: reals below 1.8 (digits, MNIST, CIFAR-10, emoji,
flowers, tiles, sprites), the same with a checkerboard of 8 levels from 14 to 14,000."""
STALLED = 0.5
"""Share of a run without a better estimate; shorter pauses are common, as the average lags behind."""
PASSING = ("collapse", "checkerboard", "stalled")
"""Kinds of findings that are taken back where a later snapshot does not show them."""
SIGNIFICANT = 3.1
"""Standard errors: one in a thousand, as a run looks many times."""
FEW = 100
"""Pictures; the fewest from which DiffAugment (Zhao et al. 2020, section 4.4) still learns."""
EQUAL = 0.1
"""Share of duplicates that is worth a word."""
LOOKED_AT = 20_000
"""Pictures that are looked through for duplicates."""

KNOWS_NOTHING = {"relativistic": math.log(2), "nonsaturating": 2 * math.log(2), "least-squares": 0.25, "hinge": 2.0}
"""The discriminator's loss where it gives all images the same logit, the best there is; by loss."""
SIGNED = {name: ("accuracy", "generator") if name == "hinge" else ("accuracy",) for name in KNOWS_NOTHING}
"""Figures whose size says nothing; for losses that are not known here, both players' too."""

Action = Literal["tell", "roll-back", "stop", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: str
    message: str
    """What is seen, and what is done or may be done about it."""
    images: int
    """Images seen by then."""
    action: Action
    """`roll-back`: to the last good weights, not the step, and on at the new `Health.rate`; `stop`: end the run in
    good order; `fail`: roll back and end with the message as a UserError."""


@dataclass(frozen=True)
class Estimate:
    """What a snapshot measured; None for what it did not."""

    images: int
    progress: float
    """0 to 1, of the run."""
    spread: float | None = None
    """Of the fakes' features over that of as many reals (see `spread`)."""
    recall: float | None = None
    memorisation: float | None = None
    """0.5 is none."""
    n: int = 0
    """The smaller of the counts of fakes and of held-out pictures that memorisation is of."""
    kernel: tuple[float, float, float] | None = None
    """Kernel distance on val: value, and its interval's ends."""
    checkered: float | None = None
    """`checkerboard` of fakes over that of reals, or over 1 where theirs is smaller."""


@dataclass
class Health:
    """How a training has been so far; JSON by `as_dict` and `from_dict`."""

    loss: str
    """The name of the run's loss."""
    roll_backs: int = 0
    skipped: int = 0
    """Steps in a row."""
    exploded: int = 0
    """Readings in a row."""
    recent: dict[str, list[float]] = field(default_factory=dict)
    since: dict[str, list[int]] = field(default_factory=dict)
    """By what holds now: readings in a row, and the step of the first."""
    estimates: list[Estimate] = field(default_factory=list)
    found: list[Finding] = field(default_factory=list)
    """All so far, but for what has passed."""
    told: list[str] = field(default_factory=list)
    """Kinds that snapshots showed before; if they pass and come again, that is not said again."""

    def as_dict(self) -> dict[str, Any]:
        """Return what a checkpoint's JSON keeps."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Health":
        """Take over what `as_dict` returned, also after JSON.

        Raises:
            UserError: it is something else.
        """
        estimates = [build(Estimate, one, "health.estimates.") for one in values.get("estimates", [])]
        found = [build(Finding, one, "health.found.") for one in values.get("found", [])]
        return build(cls, values | {"estimates": estimates, "found": found}, "health.")

    @property
    def rate(self) -> float:
        """What the learning rate is multiplied by: half for each roll-back."""
        return 0.5**self.roll_backs

    @property
    def good(self) -> bool:
        """Whether nothing blows up now, so that the state may be kept to return to."""
        return self.exploded == self.skipped == 0

    @property
    def failure(self) -> str:
        """The advice with which the run has failed, for good; empty if it has not."""
        return next((finding.message for finding in self.found if finding.action == "fail"), "")

    def of_step(self, skipped_in_a_row: int, images: int) -> list[Finding]:
        """Judge a step by how many in a row were skipped, as their losses or gradients were not finite."""
        self.skipped = skipped_in_a_row
        if self.skipped < SKIPS:
            return []
        return self._blown_up(f"{self.skipped} steps in a row had losses that are not finite", images)

    def of_figures(self, figures: dict[str, Any]) -> list[Finding]:
        """Judge a reading of the meter, a line of stats.jsonl."""
        found = self._explosion(figures) + self._overpowering(figures)
        for name, value in self._unsigned(figures).items():
            self.recent[name] = [*self.recent.get(name, []), value][-RECENT:]
        return found

    def of_end(self, images: int) -> list[Finding]:
        """Judge the state after the last step, when no reading comes any more that could tell whether it recovers."""
        if not self.exploded:
            return []
        self.exploded = 0
        done = "so the run ends with the last good weights; try a smaller --lr or a larger --gamma"
        return self._find("blow-up", f"the training was blowing up at its end, {done}", images, "roll-back")

    def of_snapshot(self, estimate: Estimate) -> list[Finding]:
        """Judge what a snapshot measured; most faults must be there twice in a row."""
        self.estimates.append(estimate)
        if estimate.progress <= SETTLED or len(self.estimates) < 2:
            return []
        self.found = [finding for finding in self.found if finding.kind not in PASSING]
        found = self._collapse() + self._checkered() + self._quality()
        new = [finding for finding in found if finding.kind not in self.told]
        self.told += [finding.kind for finding in new]
        return new

    def _unsigned(self, figures: dict[str, Any]) -> dict[str, float]:
        """Return the figures that are never negative, whose sizes therefore mean something."""
        signed = SIGNED.get(self.loss, ("accuracy", "generator", "discriminator"))
        terms = {name: value for name, value in figures.items() if "/" in name and name.split("/")[0] not in signed}
        return {name: value for name, value in terms.items() if value >= 0}

    def _explosion(self, figures: dict[str, Any]) -> list[Finding]:
        worst = ""
        for name, value in self._unsigned(figures).items():
            before = self.recent.get(name, [])
            usual = max(median(before), 0.1) if len(before) >= RECENT // 5 else math.inf  # 0.1: small ones may jump
            if value > min(EXPLODED * usual, ABSURD):
                times = f", {value / usual:.0f} times its usual size" if value > EXPLODED * usual else ""
                worst = f"{name} is {value:.3g}{times}"
        self.exploded = self.exploded + 1 if worst else 0
        if self.exploded < IN_A_ROW:
            return []
        return self._blown_up(f"the training is blowing up ({worst})", figures["images"])

    def _blown_up(self, what: str, images: int) -> list[Finding]:
        self.exploded = self.skipped = 0
        if self.roll_backs == MOST_ROLL_BACKS:
            advice = "try a smaller --lr, a larger --gamma, or --precision fp32"
            return self._find("blow-up", f"{what}, also after {self.roll_backs} roll-backs; {advice}", images, "fail")
        self.roll_backs += 1
        done = f"going back to the last good weights, and on at {self.rate:g} of the learning rate"
        message = f"{what}; {done} (roll-back {self.roll_backs} of at most {MOST_ROLL_BACKS})"
        return self._find("blow-up", message, images, "roll-back")

    def _overpowering(self, figures: dict[str, Any]) -> list[Finding]:
        """Judge each pair; a loss that is not known here has no scale, so nothing is said of it."""
        found = []
        pairs = [name.removeprefix("accuracy/") for name in figures if name.startswith("accuracy/")]
        for pair in pairs if self.loss in KNOWS_NOTHING else []:
            share = figures[f"discriminator/{pair}"] / KNOWS_NOTHING[self.loss]
            if self._long(f"certain/{pair}", share < CERTAIN and figures[f"accuracy/{pair}"] > 0.98, figures["step"]):
                advice = "the generator may learn nothing; try a larger --gamma, more pictures, or --augment yes"
                message = f"the discriminator has told all fakes from reals with certainty for long; {advice}"
                found += self._tell("overpowering", message, figures["images"])
            if self._long(f"ignorant/{pair}", abs(1 - share) < IGNORANT, figures["step"]):
                advice = "unless the pictures are already good, it learns too little; try a smaller --gamma"
                message = f"the discriminator hardly tells fakes from reals; {advice}"
                found += self._tell("ignorance", message, figures["images"])
        return found

    def _long(self, what: str, holds: bool, step: int) -> bool:
        readings, first = self.since.get(what, [0, step])
        self.since[what] = [readings + 1, first] if holds else [0, step + 1]
        return holds and readings + 1 >= LONG and step - first >= 20 * LONG

    def _collapse(self) -> list[Finding]:
        last = self.estimates[-2:]
        advice = "the generator has collapsed onto a few; try a larger --gamma or a smaller --lr"
        spreads = [e.spread for e in last if e.spread is not None and e.spread < COLLAPSED]
        if len(spreads) == 2 and spreads[1] <= RISING * spreads[0]:  # young pictures are alike too, but ever less so
            seen = f"the pictures differ from each other {last[-1].spread:.2f} times as much as real ones"
            return self._tell("collapse", f"{seen}; {advice}", last[-1].images)
        before = max((e.recall for e in self.estimates[:-2] if e.recall is not None), default=0.0)
        if before > 0.1 and all(e.recall is not None and e.recall < 0.1 * before for e in last):
            seen = f"the share of real pictures that are like a generated one fell from {before:.2f} to nearly none"
            return self._tell("collapse", f"{seen}; {advice}", last[-1].images)
        return []

    def _checkered(self) -> list[Finding]:
        last = self.estimates[-2:]
        if not all(e.checkered is not None and e.checkered > CHECKERED for e in last):
            return []
        seen = f"the pictures have a checkerboard pattern ({last[-1].checkered:.0f} times that of real ones)"
        advice = "it often fades; if it stays, try --set generator.patch=1 or a smaller --lr"
        return self._tell("checkerboard", f"{seen}; {advice}", last[-1].images)

    def _quality(self) -> list[Finding]:
        """Judge the kernel distances: `best` is the last that was better than the one before beyond its interval."""
        measured = [(e, e.kernel) for e in self.estimates if e.kernel is not None]
        if len(measured) < 5:
            return []
        best, (_, low, high) = measured[0]
        for e, kernel in measured[1:]:
            if kernel[0] < low:
                best, (_, low, high) = e, kernel
        now = self.estimates[-1]
        if all(kernel[0] > high and self._copies(e) for e, kernel in measured[-2:]):
            seen = f"more and more pictures are copies of training pictures ({now.memorisation:.2f}, none is 0.50)"
            done = "while new ones get worse, so training stops early; best.safetensors holds the best generator"
            return self._find("memorisation", f"{seen} {done}", now.images, "stop")
        if now.progress - best.progress > STALLED:
            seen = f"the pictures have not become better since {best.images / 1000:.1f} kimg"
            return self._tell("stalled", f"{seen}; best.safetensors holds the best generator", now.images)
        return []

    def _copies(self, estimate: Estimate) -> bool:
        """Whether memorisation is significantly above 0.5, and above the least so far (binomial, nearly normal).

        The sets that the fakes are near to never change, and may differ by chance; hence the second question.
        """
        shares = [e.memorisation for e in self.estimates if e.memorisation is not None]
        if estimate.memorisation is None or estimate.n < 1:
            return False
        error = 0.5 / math.sqrt(estimate.n)
        above, risen = estimate.memorisation - 0.5, estimate.memorisation - min(shares)
        return above > SIGNIFICANT * error and risen > SIGNIFICANT * error * math.sqrt(2)

    def _tell(self, kind: str, message: str, images: int) -> list[Finding]:
        known = any(finding.kind == kind for finding in self.found)
        return [] if known else self._find(kind, message, images, "tell")

    def _find(self, kind: str, message: str, images: int, action: Action) -> list[Finding]:
        self.found.append(Finding(kind, message, images, action))
        return self.found[-1:]


def spread(features: NDArray[Any]) -> float:
    """Return how much features [n, d] differ: the trace of their covariance; 0 for equal pictures, or a single one."""
    return float(np.asarray(features, np.float64).var(0).sum()) if len(features) else 0.0


def checkerboard(images: NDArray[np.uint8]) -> float:
    """Return how much images [n, H, W, C] repeat every 2 or 4 pixels, as upsampling makes them (Odena et al. 2016).

    The greatest power at the frequencies of these periods over that around it, both geometric means over the
    pictures, so that no rich picture drowns the rest. About 1 for none; 1 for sides below 16, too small to tell.
    """
    h, w = (side // 4 * 4 for side in images.shape[1:3])
    if min(h, w) < 16 or not len(images):
        return 1.0
    logs = np.zeros((h, w))
    window = np.outer(np.hanning(h + 1)[:h], np.hanning(w + 1)[:w])  # or the borders' jumps would look like lines
    for image in images[:, :h, :w]:
        grey = image.mean(2, dtype=np.float64)
        logs += np.log(np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2 + 1)
    power = np.exp(logs / len(images))
    index = 1.0
    for u, v in [(u, v) for u in (0, h // 4, h // 2) for v in (0, w // 4, w // 2) if u or v]:
        around = np.roll(power, (3 - u, 3 - v), (0, 1))[:7, :7]
        peak = around[2:5, 2:5].sum()  # the window spreads a peak over so much
        index = max(index, float((peak / 9) / ((around.sum() - peak) / 40)))
    return index


def of_data(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> list[Finding]:
    """Say what is unpromising about the training images, some rows of all [N, ...]; evenly spaced ones are read."""
    some = rows[:: max(1, -(-len(rows) // LOOKED_AT))]
    blocks = (images[some[i : i + 256]] for i in range(0, len(some), 256))
    different = len({hashlib.blake2b(x.tobytes(), digest_size=16).digest() for block in blocks for x in block})
    if different <= 1:
        message = "all pictures are equal; there is nothing to learn but that one, so give pictures that differ"
        return [Finding("constant", message, 0, "tell")]
    found = []
    if different < FEW and len(some) == len(rows):
        message = f"only {different} different pictures, which will be learned by heart; give more, at best {FEW}"
        found.append(Finding("few", message, 0, "tell"))
    if 1 - different / len(some) > EQUAL:
        share = f"{1 - different / len(some):.0%} of the pictures are exact duplicates of others"
        message = f"{share}, which the GAN will draw more often; remove them unless that is wanted"
        found.append(Finding("duplicates", message, 0, "tell"))
    return found
