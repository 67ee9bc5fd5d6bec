"""A list of all parts of the pipeline, in the order in which they run, with descriptions."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

from vireo.recommender import ordering
from vireo.recommender.candidates import Candidates
from vireo.recommender.features import FEATURES, MEANINGS
from vireo.recommender.filtering import Filtering
from vireo.recommender.ordering import Ordering
from vireo.recommender.ranking import Ranking
from vireo.recommender.slate import PROPOSALS


@dataclass(frozen=True)
class Component:
    """One part: its name in answers and metrics, and a line of description."""

    name: str
    description: str


def components() -> Mapping[str, tuple[Component, ...]]:
    """Stages, candidate sources, filter rules, ranking features and ordering rules."""
    stages = (Candidates, Filtering, Ranking, Ordering)
    return {
        "stages": _described({stage.name: stage for stage in stages}),
        "sources": _named(PROPOSALS),
        "filters": _described(Filtering().rules),
        "features": _named({name: MEANINGS[name] for name in FEATURES}),
        "ordering": _described(ordering.RULES),
    }


def _named(table: Mapping[str, str]) -> tuple[Component, ...]:
    return tuple(Component(name, text) for name, text in table.items())


def _described(table: Mapping[str, object]) -> tuple[Component, ...]:
    """Components described by the first line of their own docstring."""
    return _named(
        {name: (inspect.getdoc(part) or "").partition("\n")[0] for name, part in table.items()}
    )
