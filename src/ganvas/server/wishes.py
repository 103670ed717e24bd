"""What /generate takes, as pydantic checks it and OpenAPI tells it: only what the model knows."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    create_model,
    model_validator,
)

from ganvas.errors import UserError, nearest
from ganvas.models.video import MOST_FRAMES
from ganvas.sample import Model, turn
from ganvas.server.options import ServeOptions
from ganvas.server.worker import Kind

MOST_TRUNCATION = 10.0
"""Far beyond all that is of use, and far from infinity."""
LONGEST = 200
"""Characters of a name, that is searched among those that are known; classes of the model may have more."""


def _whole(value: Any) -> Any:
    """Leave `"1"` and `true` as no numbers, which pydantic would take; 1.0 is one in JSON."""
    if isinstance(value, bool | str):
        raise ValueError("it is no whole number")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Seed = Annotated[int, Field(ge=0, lt=2**53), BeforeValidator(_whole)]
"""Larger ones are not exact in all that read JSON."""


class Wish(BaseModel):
    """What to draw."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"not": {"required": ["n", "seeds"]}})

    @model_validator(mode="before")
    @classmethod
    def _all_known(cls, given: Any) -> Any:
        for name in given if isinstance(given, dict) else ():
            if name not in cls.model_fields:
                raise ValueError(f"there is no {name[:LONGEST]!r}{nearest(name[:LONGEST], cls.model_fields)}")
        return given

    @model_validator(mode="after")
    def _one_way(self) -> "Wish":
        if {"n", "seeds"} <= self.model_fields_set:
            raise ValueError("n and seeds are two ways to say which pictures; leave out one")
        return self


def wish_of(model: Model, options: ServeOptions) -> type[Wish]:
    """Return what can be asked of a model that draws: n or seeds, classes, truncation, frames, format, answer."""
    n = "How many, each of another seed than all before."
    seeds = "Which ones, instead of n: the same seed is the same picture, whatever is asked for beside it."
    truncation = "Below 1: more typical, less varied pictures."
    answer = "The picture, and of several one grid; or all in a zip; or in JSON, each in base64."
    fields: dict[str, Any] = {
        "n": (Whole, Field(1, ge=1, le=options.max_n, description=n)),
        "seeds": (list[Seed], Field(default_factory=list, min_length=1, max_length=options.max_n, description=seeds)),
        "truncation": (Annotated[float, Strict()], Field(1.0, ge=0, le=MOST_TRUNCATION, description=truncation)),
        "answer": (Literal["picture", "zip", "json"], Field("picture", description=answer)),
    }
    if model.classes:
        classes = "What to draw, in turn; by default, all classes take turns by seed."
        names = {"items": {"type": "string", "enum": list(model.classes)}}
        name = Annotated[str, Field(max_length=max(LONGEST, *map(len, model.classes)))]
        known = AfterValidator(lambda names: [_known(model, name) for name in names])
        limits: dict[str, Any] = {"min_length": 1, "max_length": options.max_n, "json_schema_extra": names}
        fields["classes"] = Annotated[list[name], known], Field(default_factory=list, description=classes, **limits)
    if model.frames:
        most = max(model.frames, min(options.max_n, MOST_FRAMES))
        fields["frames"] = Whole, Field(model.frames, ge=2, le=most, description="Of each clip.")
        fields["format"] = Literal["gif", "webp"], Field("gif", description="WebP has all colours.")
    return create_model("Wish", __base__=Wish, __doc__=Wish.__doc__, **fields)


def _known(model: Model, name: str) -> str:
    try:
        model.label(name)
    except UserError as error:
        raise ValueError(str(error)) from error
    return name


def kinds_of(wish: dict[str, Any], seeds: range | list[int], model: Model) -> list[Kind]:
    """Return each picture that a wish is for, with the seeds that it names or that were found for it."""
    labels = [model.label(name) for name in wish.get("classes", ())]
    count, more = len(model.classes), (wish["truncation"], wish.get("frames"))
    return [
        Kind(seed, labels[place % len(labels)] if labels else turn(seed, count), *more)
        for place, seed in enumerate(seeds)
    ]
