"""Operators' controls, which take effect without a deployment: tuning, experiments, campaigns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vireo.ports import Item, Missing, Records, Table, walk
from vireo.recommender.steering.campaigns import Campaign
from vireo.recommender.steering.experiments import Experiment, assignments, tuned
from vireo.recommender.steering.tuning import Tuning

M = TypeVar("M", bound=BaseModel)
#: The model of each kind, and its field that is the sort key of its row; "" where there is but one.
KINDS: Mapping[str, tuple[type[BaseModel], str]] = {
    "tuning": (Tuning, ""),
    "experiments": (Experiment, "name"),
    "campaigns": (Campaign, "campaign_id"),
}


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


def put(records: Records, kind: str, given: Any) -> str:
    """Set a control of a kind of `KINDS`; returns its name. Raises ValidationError."""
    model, field_of_name = KINDS[kind]
    control = model.model_validate(given)
    name = str(getattr(control, field_of_name)) if field_of_name else ""
    item = control.model_dump(mode="json", exclude_unset=True)
    records.put(Table.SETTINGS, kind, name, item)
    return name


def remove(records: Records, kind: str, name: str) -> None:
    """Remove a control, also one that is not valid. Raises `vireo.ports.Missing`."""
    if records.get(Table.SETTINGS, kind, name) is None:
        raise Missing(f"there is no {name or kind} among {kind}")
    records.delete(Table.SETTINGS, kind, name)


def _valid(model: type[M], item: dict[str, Any], name: str, problems: list[str]) -> M | None:
    try:
        return model.model_validate(item)
    except ValidationError:
        problems.append(name)
        return None
