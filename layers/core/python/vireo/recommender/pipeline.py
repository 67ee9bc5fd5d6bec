"""The loop over the stages: each is timed, and a failing stage is replaced by its fallback."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from vireo.ports import Clock, Meter
from vireo.recommender.request import Request
from vireo.recommender.slate import Slate

log = logging.getLogger(__name__)


class Stage(Protocol):
    """A stage: takes a request and a slate, and returns a slate."""

    @property
    def name(self) -> str:
        """The name in metrics and answers."""
        ...

    def __call__(self, request: Request, slate: Slate) -> Slate:
        """The slate after the stage."""
        ...

    def otherwise(self, request: Request, slate: Slate) -> Slate:
        """The fallback if the stage fails: the simplest acceptable slate."""
        ...


@dataclass(frozen=True, slots=True)
class Lap:
    """The outcome of one stage."""

    stage: str
    milliseconds: float
    kept: int
    removed: dict[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The final slate, the outcome of each stage, and the names of those that failed."""

    slate: Slate
    laps: list[Lap]
    degraded: list[str]


def run(stages: Sequence[Stage], request: Request, clock: Clock, meter: Meter) -> Outcome:
    """Run every stage in turn. Never raises: a stage that fails twice leaves an empty slate."""
    slate, laps, degraded = Slate.empty(), [], []
    for stage in stages:
        start = clock.monotonic()
        before = {reason: len(rows) for reason, rows in slate.removed.items()}
        try:
            slate = stage(request, slate)
        except Exception:
            log.exception("stage %s failed", stage.name)
            meter.count("StageFailed", stage=stage.name)
            degraded.append(stage.name)
            slate = _otherwise(stage, request, slate)
        spent = 1e3 * (clock.monotonic() - start)
        meter.observe("StageLatency", spent, "Milliseconds", stage=stage.name)
        removed = {r: len(rows) - before.get(r, 0) for r, rows in slate.removed.items()}
        laps.append(Lap(stage.name, spent, len(slate), {r: n for r, n in removed.items() if n}))
    return Outcome(slate, laps, degraded)


def _otherwise(stage: Stage, request: Request, slate: Slate) -> Slate:
    try:
        return stage.otherwise(request, slate)
    except Exception:
        log.exception("stage %s failed twice", stage.name)
        return replace(Slate.empty(), removed=slate.removed)
