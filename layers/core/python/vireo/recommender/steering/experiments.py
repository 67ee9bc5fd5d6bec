"""Assignment of users to variants by hashing: it needs no storage and never changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from vireo.fields import Identifier
from vireo.keys import key_of
from vireo.recommender.steering.tuning import Tuning


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that a variant changes, as a record holds them. Raises ValidationError."""
    return Tuning.model_validate(given).model_dump(mode="json", exclude_unset=True)


class Variant(BaseModel):
    """One arm of an experiment: its weight, and its changes to the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: Identifier
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    tuning: Annotated[dict[str, Any], AfterValidator(_settings)] = {}


class Experiment(BaseModel):
    """Variants among which the viewers are divided by weight."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    name: Identifier
    active: bool = True
    variants: Annotated[tuple[Variant, ...], Field(min_length=1, max_length=20)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({v.name for v in self.variants}) < len(self.variants):
            raise ValueError("two variants share a name")
        return self

    def assign(self, user_id: str) -> Variant:
        """The variant of a user, independent of other experiments and of the order of calls."""
        drawn = key_of(f"{self.name}\0{user_id}") / 2**64
        share = drawn * sum(v.weight for v in self.variants)
        for variant in self.variants:
            share -= variant.weight
            if share < 0:
                return variant
        return self.variants[-1]


def assignments(experiments: Iterable[Experiment], user_id: str) -> dict[str, Variant]:
    """The variant of every active experiment, by the experiment's name."""
    return {e.name: e.assign(user_id) for e in experiments if e.active}


def tuned(base: Tuning, variants: Iterable[Variant]) -> Tuning:
    """The settings with the changes of the variants; later variants override earlier ones."""
    changes: dict[str, Any] = {}
    for variant in variants:
        changes |= variant.tuning
    return Tuning.model_validate(base.model_dump() | changes) if changes else base
