"""Comparison of systems on the same requests: metrics by pause, and intervals of differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from vireo.intervals import Interval, Values, difference
from vireo.jobs.progress import Progress, silent
from vireo.recommender.pauses import PAUSE_NAMES
from vireo.training.data.log import Log
from vireo.training.data.metrics import (
    FINE,
    PAUSES,
    Lists,
    by_pause,
    coverage,
    in_pause,
    per_request,
)
from vireo.training.data.requests import Requests, Split
from vireo.training.judging import baselines
from vireo.training.judging.served import Served
from vireo.training.models.replay import Stage

KS = (10, 20, 100)
#: Metrics whose differences are shown.
COMPARED = ("ndcg@10", "recall@100", "hit@10")
#: Baselines that our systems are compared with in every table, beside the strongest one.
REFERENCES = ("Popularity", "EASE")
#: The metric whose highest mean makes a baseline the strongest.
STRENGTH = "ndcg@10"


class System(Protocol):
    """Any system that answers requests with lists."""

    @property
    def name(self) -> str:
        """The name in tables."""

    @property
    def longest(self) -> int:
        """Number of places of its longest lists; metrics of longer ones are not asked for."""

    def lists(self, requests: Requests, k: int) -> Lists:
        """At most k videos for every request, best first: int32 [r, k], -1 padded."""


@dataclass(frozen=True)
class BaselineSystem:
    """A fitted baseline, with the log that the requests were made from."""

    name: str
    baseline: baselines.Baseline
    log: Log
    longest: ClassVar[int] = max(KS)

    def lists(self, requests: Requests, k: int) -> Lists:
        """See `baselines.rank`."""
        return baselines.rank(self.baseline, self.log, requests, k)


class Stages(Protocol):
    """A trained model that can answer with the slate of any stage."""

    def lists(self, requests: Requests, stage: Stage, k: int) -> Lists:
        """The first k of the slate after a stage, best first: int32 [r, k], -1 padded."""


@dataclass(frozen=True)
class StageSystem:
    """One stage of our own model."""

    name: str
    stage: Stage
    model: Stages
    longest: ClassVar[int] = max(KS)

    def lists(self, requests: Requests, k: int) -> Lists:
        """See `Stages.lists`."""
        return self.model.lists(requests, self.stage, k)


@dataclass(frozen=True)
class Answers:
    """The answers of a system, with their metrics."""

    name: str
    lists: Lists
    values: Mapping[str, Values]  #: float64 [r] by metric


@dataclass(frozen=True)
class Comparison:
    """The difference of two systems in one metric, for requests after a given pause."""

    system: str
    reference: str
    metric: str
    pause: str
    interval: Interval

    def as_dict(self) -> dict[str, Any]:
        """One flat record."""
        flat = asdict(self)
        interval: dict[str, Any] = flat.pop("interval")
        return flat | interval


@dataclass(frozen=True)
class Evaluation:
    """The results of all systems in one protocol."""

    protocol: str
    requests: Requests
    n_videos: int
    answers: Sequence[Answers]
    comparisons: Sequence[Comparison]
    strongest: str | None = None  #: the baseline with the highest `STRENGTH`
    served: Served | None = None  #: what viewers are shown, where that was measured

    def __getitem__(self, name: str) -> Answers:
        return next(a for a in self.answers if a.name == name)

    def as_dict(self) -> dict[str, Any]:
        """Plain figures, for JSON and for the report."""
        return {
            "protocol": self.protocol,
            "requests": len(self.requests),
            "viewers": len(np.unique(self.requests.user)),
            "targets": len(self.requests.target),
            "videos": self.n_videos,
            "systems": [
                {
                    "name": a.name,
                    "by_pause": by_pause(a.values, self.requests),
                    "coverage": {
                        f"@{k}": coverage(a.lists, self.n_videos, k)
                        for k in KS
                        if f"hit@{k}" in a.values
                    },
                }
                for a in self.answers
            ],
            "strongest": self.strongest,
            "differences": [c.as_dict() for c in self.comparisons],
            "served": None if self.served is None else self.served.as_dict(),
        }


def fitted_baselines(
    log: Log,
    split: Split,
    *,
    names: Iterable[str] = tuple(baselines.GRID),
    tune: bool = True,
    progress: Progress = silent,
) -> list[BaselineSystem]:
    """The named baselines of `baselines.GRID`, fitted on the events before the test.

    Args:
        log: all events.
        split: of that log.
        names: keys of the grid.
        tune: choose settings on validation; otherwise use the first of each name.
        progress: called with the baseline that is being fitted.
    """
    systems, wanted = [], list(names)
    for j, name in enumerate(wanted):
        progress(j / len(wanted), f"fitting {name}")
        grid = baselines.GRID[name]
        chosen = baselines.tuned(grid, log, split) if tune else grid[0].fit(log.take(split.fit))
        systems.append(BaselineSystem(name, chosen, log))
    return systems


def evaluate(
    systems: Sequence[System],
    split: Split,
    log: Log,
    *,
    references: Iterable[str] = REFERENCES,
    pauses: Iterable[str] = ("all", *PAUSE_NAMES, *FINE),
    draws: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Answers of every system to all test requests, and comparisons of ours with the references.

    The strongest baseline is a reference, too. It is the strongest on these very requests, which
    favours it. If there are only baselines, they are compared with the references.

    Raises:
        ValueError: a system recommends a watched video, or a video twice.
    """
    answers = []
    for j, system in enumerate(systems):
        progress(j / len(systems), f"asking {system.name}")
        answers.append(answer(system, split.test, log))
    named = {a.name: a for a in answers}
    rivals = [s.name for s in systems if isinstance(s, BaselineSystem)]
    strongest = max(
        rivals if len(split.test) else (),
        key=lambda name: float(named[name].values[STRENGTH].mean()),
        default=None,
    )
    ours = [s.name for s in systems if not isinstance(s, BaselineSystem)] or list(named)
    comparisons = [
        comparison
        for name in ours
        for reference in dict.fromkeys((*references, strongest))
        if reference in named and reference != name
        for comparison in compare(
            named[name], named[reference], split.test, pauses=pauses, draws=draws, seed=seed
        )
    ]
    served = next((s for s in systems if isinstance(s, Served)), None)
    return Evaluation(
        split.protocol, split.test, log.n_videos, answers, comparisons, strongest, served
    )


def answer(system: System, requests: Requests, log: Log) -> Answers:
    """The answers of one system, after a check of the rules that all systems must keep.

    Raises:
        ValueError: a list contains a video that its viewer has watched, or a video twice.
    """
    ks = [k for k in KS if k <= system.longest]
    lists = system.lists(requests, max(ks))
    histories = requests.histories(log)
    met = histories.owner() * log.n_videos + histories.video
    named = np.arange(len(lists))[:, None] * log.n_videos + lists
    if bool((np.isin(named, met) & (lists >= 0)).any()):
        raise ValueError(f"{system.name} recommends what its viewer has met")
    return Answers(system.name, lists, per_request(lists, requests, ks))


def compare(
    ours: Answers,
    theirs: Answers,
    requests: Requests,
    *,
    metrics: Iterable[str] = COMPARED,
    pauses: Iterable[str] = PAUSES,
    draws: int = 2000,
    seed: int = 0,
) -> list[Comparison]:
    """Paired differences by metric and pause; pauses without requests are left out.

    So are metrics of longer lists than one of the two has.
    """
    comparisons = []
    metrics = [m for m in metrics if m in ours.values and m in theirs.values]
    for pause in dict.fromkeys(pauses):
        chosen = in_pause(requests, pause)
        if not chosen.any():
            continue
        for metric in metrics:
            interval = difference(
                ours.values[metric][chosen],
                theirs.values[metric][chosen],
                requests.user[chosen],
                draws=draws,
                seed=seed,
            )
            comparisons.append(Comparison(ours.name, theirs.name, metric, pause, interval))
    return comparisons


def together(
    evaluations: Sequence[Evaluation], *, draws: int = 2000, seed: int = 0
) -> list[Comparison]:
    """Differences over the requests of several evaluations of one log, e.g. of several cuts.

    The bootstrap draws a viewer together with their requests in all evaluations.
    """
    users = np.concatenate([e.requests.user for e in evaluations])
    pooled = []
    for pair in dict.fromkeys((c.system, c.reference) for c in evaluations[0].comparisons):
        asked = [c.metric for c in evaluations[0].comparisons if (c.system, c.reference) == pair]
        for metric in dict.fromkeys(asked):
            ours, theirs = (
                np.concatenate([e[name].values[metric] for e in evaluations]) for name in pair
            )
            found = difference(ours, theirs, users, draws=draws, seed=seed)
            pooled.append(Comparison(*pair, metric, "all", found))
    return pooled


def list_lines(answers: Answers, evaluation: Evaluation, log: Log) -> Iterable[str]:
    """``user item item …`` for every request, with the ids of the data, best first.

    In the successive protocol, where a viewer has several requests, they are named ``user#0``,
    ``user#1``, … in order of time.
    """
    asked: dict[int, int] = {}
    for user, videos in zip(evaluation.requests.user.tolist(), answers.lists, strict=True):
        name = log.people.ids[user].decode()
        if evaluation.protocol == "successive":
            asked[user] = asked.get(user, -1) + 1
            name = f"{name}#{asked[user]}"
        yield " ".join([name, *(v.decode() for v in log.videos.ids[videos[videos >= 0]])])
