"""Operators' controls, which take effect without a deployment: tuning, experiments, campaigns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vireo.ports import Item, Records, Table, walk
from vireo.recommender.steering.campaigns import Campaign
from vireo.recommender.steering.experiments import Experiment, assignments, tuned
from vireo.recommender.steering.tuning import Tuning

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Controls:
    """The controls at a moment, and the names of invalid rows."""

    tuning: Tuning = field(default_factory=Tuning)
    experiments: tuple[Experiment, ...] = ()
    campaigns: tuple[Campaign, ...] = ()
    problems: tuple[str, ...] = ()
    _tuned: dict[tuple[str, ...], Tuning] = field(default_factory=dict, repr=False, compare=False)

    def tuning_for(self, user_id: str) -> tuple[Tuning, dict[str, str]]:
        """The settings of one user, and the variants by experiment that they result from."""
        if not self.experiments:
            return self.tuning, {}
        variants = assignments(self.experiments, user_id)
        names = {experiment: variant.name for experiment, variant in variants.items()}
        key = tuple(f"{e}/{v}" for e, v in names.items())
        if key not in self._tuned:
            self._tuned[key] = tuned(self.tuning, variants.values())
        return self._tuned[key], names


def read(records: Records) -> Controls:
    """The controls from rows of SETTINGS: ``tuning``; ``experiments``/name; ``campaigns``/id.

    An invalid row is left out and named in `Controls.problems`, so that one operator's mistake does
    not stop the rest.
    """
    problems: list[str] = []
    found = records.get(Table.SETTINGS, "tuning")
    tuning = _valid(Tuning, found.item, "tuning", problems) if found else None
    experiments = [
        _valid(Experiment, item, f"experiments/{name}", problems)
        for name, item in rows(records, "experiments")
    ]
    campaigns = [
        _valid(Campaign, item, f"campaigns/{name}", problems)
        for name, item in rows(records, "campaigns")
    ]
    chosen = sorted((c for c in campaigns if c), key=lambda c: (-c.priority, c.campaign_id))
    return Controls(
        tuning or Tuning(),
        tuple(e for e in experiments if e),
        tuple(chosen),
        tuple(problems),
    )


def rows(records: Records, key: str) -> Iterator[tuple[str, Item]]:
    """Names and items of the rows of SETTINGS under a key, valid or not."""
    return ((r.sort, r.item) for r in walk(records, Table.SETTINGS, key))


def _valid(model: type[M], item: dict[str, Any], name: str, problems: list[str]) -> M | None:
    try:
        return model.model_validate(item)
    except ValidationError:
        problems.append(name)
        return None
