"""Lists as they are served, measured: what viewers are shown, and what ordering costs of it.

The other figures of an evaluation are about ranked candidates. Ordering comes after them: variety,
new videos, exploration, campaigns. Here the stages of serving make the lists that they would have
answered with, under the controls that are given, at the moments of the requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from vireo.intervals import Interval, Values, relative
from vireo.jobs.progress import Progress, silent
from vireo.recommender.contents import ModelBundle
from vireo.recommender.ordering import DAY, Ordering
from vireo.recommender.pauses import PAUSE_NAMES
from vireo.recommender.ranking import kept
from vireo.recommender.request import Request
from vireo.recommender.slate import EXPLORE, ORGANIC, PROMOTED, Slate
from vireo.recommender.steering.campaigns import Campaign
from vireo.recommender.steering.controls import Controls
from vireo.recommender.steering.tuning import Tuning
from vireo.training.data.metrics import Lists, exposure, gini, per_request
from vireo.training.data.requests import Requests
from vireo.training.models.replay import Replay

#: Places of a list: what a request asks for that does not say how many.
PLACES = 20
#: Hits that are counted in lists, and the metrics that ordering's cost is told in.
KS = (10, PLACES)
COSTS = ("ndcg@10", f"hit@{PLACES}")
#: Changes of a tuning that switch one rule of ordering off.
WITHOUT: Mapping[str, Mapping[str, Any]] = {
    "freshness": {"fresh_boost": 0.0},
    "variety": {"category_share": 1.0, "channel_share": 1.0},
    "exploration": {"explore_slots": 0},
}
CAMPAIGNS = "campaigns"

#: Properties of one list, with descriptions; shares are of its places.
PROPERTIES: Mapping[str, str] = {
    "distance": "Mean cosine distance of two of its videos, by the item tower.",
    "channels": "Number of known channels.",
    "categories": "Number of known categories.",
    "fresh": "Share of videos of the last `fresh_days`.",
    "promoted": "Share of places of campaigns.",
    "explored": "Share of places of exploration.",
    "negative": "Share of places at scores below zero: worse than the mean candidate.",
    "displaced": "Share of organic places in place of a better candidate that is not in the list.",
    "repeated": "Share of places whose title stands above already.",
}


#: Properties of all lists together.
TOGETHER: Mapping[str, str] = {
    "coverage": "Share of the catalogue that anybody is shown.",
    "gini": "Inequality of the numbers of viewers who are shown each video.",
    "reach": "Share of viewers who are shown the video that most are shown.",
}


@dataclass(frozen=True)
class Kind:
    """One kind of lists, with the values of each."""

    name: str
    lists: Lists  #: int32 [r, PLACES], -1 padded
    values: Mapping[str, Values]  #: float64 [r] by metric and by property


@dataclass(frozen=True)
class Cost:
    """The relative difference of a metric that a rule makes; None if nothing was found."""

    rule: str
    metric: str
    interval: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """One flat record."""
        found = {} if self.interval is None else asdict(self.interval)
        return {"rule": self.rule, "metric": self.metric, **found}


@dataclass(frozen=True)
class Served:
    """The served lists of some requests, beside the ranked candidates; a system in a comparison."""

    requests: Requests
    n_videos: int
    ranked: Kind
    listed: Kind
    without: Mapping[str, Mapping[str, Values]]  #: metrics of the lists without one rule
    notes: tuple[str, ...]  #: facts in words
    seed: int = 0
    longest: ClassVar[int] = PLACES

    @property
    def name(self) -> str:
        """The name in tables."""
        return self.listed.name

    def lists(self, requests: Requests, k: int) -> Lists:
        """The first k places of the lists that were measured.

        Raises:
            ValueError: other requests were measured.
        """
        if requests is not self.requests:
            raise ValueError("the served lists of other requests were measured")
        return self.listed.lists[:, :k]

    def unpaid(self, metric: str) -> Values:
        """A metric of the lists without campaigns, whose price is their owners' affair."""
        return self.without.get(CAMPAIGNS, self.listed.values)[metric]

    def cost(self, metric: str, *, level: float = 0.95, seed: int | None = None) -> Interval | None:
        """The relative difference of a metric, served minus ranked; campaigns excepted.

        Below zero ordering costs. None if the candidates hold nothing that anybody watched.
        """
        seed = self.seed if seed is None else seed
        ours, theirs = self.unpaid(metric), self.ranked.values[metric]
        return relative(ours, theirs, self.requests.user, level=level, seed=seed)

    def costs(self) -> Iterator[Cost]:
        """The cost of all rules together, and the part that each adds to the others."""
        for metric in COSTS:
            yield Cost("all", metric, self.cost(metric))
        for rule, values in self.without.items():
            for metric in COSTS:
                ours = self.listed.values[metric] if rule == CAMPAIGNS else self.unpaid(metric)
                found = relative(ours, values[metric], self.requests.user, seed=self.seed)
                yield Cost(rule, metric, found)

    def as_dict(self) -> dict[str, Any]:
        """Plain figures, for JSON and for the report."""
        return {
            "places": PLACES,
            "requests": len(self.requests),
            "viewers": len(np.unique(self.requests.user)),
            "lists": [self.figures(kind) for kind in (self.ranked, self.listed)],
            "costs": [cost.as_dict() for cost in self.costs()],
            "notes": list(self.notes),
        }

    def figures(self, kind: Kind) -> dict[str, Any]:
        """The means of one kind, and what its lists are together."""
        shown = exposure(kind.lists, self.requests, self.n_videos)
        viewers = len(np.unique(self.requests.user))
        return {
            "name": kind.name,
            **{name: _mean(values) for name, values in kind.values.items()},
            "coverage": float((shown > 0).mean()) if len(shown) else math.nan,
            "gini": gini(shown),
            "reach": float(shown.max(initial=0)) / max(1, viewers),
        }


def measure(
    replay: Replay,
    requests: Requests,
    *,
    controls: Controls | None = None,
    names: tuple[str, str] = ("Ranked candidates", "Served list"),
    seed: int = 0,
    progress: Progress = silent,
) -> Served:
    """The lists that would have been answered to requests, and the best of their candidates.

    Campaigns are placed wherever their audience and period fit, as while budgets and caps last.

    Args:
        replay: of the log that the requests are from.
        requests: the held-out ones.
        controls: that are in force; by default those of the replay.
        names: of the ranked candidates and of the served list in tables.
        seed: of the intervals.
        progress: called with the number of requests that were answered.
    """
    controls = controls or replay.controls
    replay = replay.under(controls)
    rules = dict(_rules(controls))
    kinds = {name: _Making(len(requests)) for name in ("ranked", "listed", *rules)}
    for j, (request, ranked) in enumerate(replay.slates(requests, "ranked", limit=PLACES)):
        best, chosen = ranked.top(PLACES), kept(request, ranked)
        listed = _ordering(controls.campaigns)(request, chosen)
        kinds["ranked"].put(j, replay.log_rows(best.rows), properties(request, best, ranked))
        kinds["listed"].put(j, replay.log_rows(listed.rows), properties(request, listed, ranked))
        for rule, (changes, campaigns) in rules.items():
            tuning = request.tuning.model_copy(update=dict(changes))
            other = _ordering(campaigns)(replace(request, tuning=tuning), chosen)
            kinds[rule].put(j, replay.log_rows(other.rows), {})
        if j % 100 == 99 or j == len(requests) - 1:
            progress((j + 1) / len(requests), f"asking for lists of {PLACES}")
    made = {name: making.kind(requests) for name, making in kinds.items()}
    return Served(
        requests=requests,
        n_videos=replay.log.n_videos,
        ranked=replace(made["ranked"], name=names[0]),
        listed=replace(made["listed"], name=names[1]),
        without={rule: made[rule].values for rule in rules},
        notes=tuple(_notes(replay.bundle, controls)),
        seed=seed,
    )


def _rules(
    controls: Controls,
) -> Iterator[tuple[str, tuple[Mapping[str, Any], tuple[Campaign, ...]]]]:
    """By rule: the changes of the tuning, and the campaigns, of lists without it.

    Those without one of the others are without campaigns, too, as `Served.unpaid` is.
    """
    yield from ((rule, (changes, ())) for rule, changes in WITHOUT.items())
    if controls.campaigns:
        yield CAMPAIGNS, ({}, ())


def _ordering(campaigns: tuple[Campaign, ...]) -> Ordering:
    return Ordering(campaigns, lambda campaign, request: True)


class _Making:
    """One kind of lists while it is made."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._lists = np.full((n, PLACES), -1, np.int32)
        self._values: dict[str, Values] = {}

    def put(self, j: int, rows: Lists, values: Mapping[str, float]) -> None:
        """Set the list of request j; a video that is not in the log keeps its place, unnamed."""
        self._lists[j, : len(rows)] = rows
        for name, value in values.items():
            self._values.setdefault(name, np.full(self._n, np.nan))[j] = value

    def kind(self, requests: Requests) -> Kind:
        """The lists, with their metrics."""
        return Kind("", self._lists, per_request(self._lists, requests, KS) | self._values)


def properties(request: Request, slate: Slate, ranked: Slate) -> dict[str, float]:
    """The properties of a list (`PROPERTIES`), which is made of ranked candidates."""
    n = len(slate)
    if not n:
        return dict.fromkeys(PROPERTIES, math.nan) | {"channels": 0.0, "categories": 0.0}
    channel, category, published, titles = request.snapshot.take(
        slate.rows, "channel", "category", "published", "titles"
    )
    slots = np.full(n, ORGANIC, np.uint8) if slate.slots is None else slate.slots
    named = {" ".join(title.decode().casefold().split()) for title in titles.tolist()}
    return {
        "distance": _distance(request, slate),
        "channels": float(len(np.unique(channel[channel != 0]))),
        "categories": float(len(np.unique(category[category != 0]))),
        "fresh": float((published >= request.now - DAY * request.tuning.fresh_days).mean()),
        "promoted": float((slots == PROMOTED).mean()),
        "explored": float((slots == EXPLORE).mean()),
        "negative": float((slate.score < 0).mean()),
        "displaced": _displaced(slate.rows[slots == ORGANIC], slate, ranked) / n,
        "repeated": 1 - len(named) / n,
    }


def _displaced(organic: Any, slate: Slate, ranked: Slate) -> int:
    """Number of organic rows that are in place of a better candidate that is not in the list."""
    order = np.lexsort((ranked.rows, -ranked.score))
    rows = ranked.rows[order]
    asked = np.isin(rows, organic) | ~np.isin(rows, slate.rows)
    return int((~np.isin(organic, rows[asked][: len(organic)])).sum())


def _distance(request: Request, slate: Slate) -> float:
    """Mean cosine distance of two videos: 1 minus that of the products of unit vectors."""
    index, n = request.snapshot.index, len(slate)
    if index is None or n < 2:
        return math.nan
    vectors = index.take(slate.rows)[:, :-1].astype(np.float64)
    lengths = np.sqrt((vectors * vectors).sum(1, keepdims=True))
    units = vectors / np.where(lengths > 0, lengths, 1.0)
    whole, own = float((units.sum(0) ** 2).sum()), float((units * units).sum())
    return 1 - (whole - own) / (n * (n - 1))


def _notes(bundle: ModelBundle, controls: Controls) -> Iterator[str]:
    """Facts that a reader of figures should know: was the ranker heard, and what is set."""
    tuning, blend = controls.tuning, bundle.arrays.get("blend")
    if tuning.popularity_only:
        yield "No model is asked: the tuning serves what is popular."
    elif not tuning.use_ranker:
        yield "The ranker is not heard: the tuning switches it off."
    elif not bundle.group("ranker"):
        yield "The ranker is not heard: the model has none, and the blend of the sources ranks."
    elif blend is not None:
        deaf = [name for name, weight in zip(PAUSE_NAMES, blend[:, 0], strict=True) if not weight]
        if deaf:
            when = "" if len(deaf) == len(PAUSE_NAMES) else f" after pauses of {', '.join(deaf)}"
            yield f"The ranker is not heard{when}: its weight in the blend is 0."
    changed = sorted(n for n, v in tuning.model_dump().items() if v != getattr(Tuning(), n))
    if changed:
        yield f"The tuning in force differs from the default in {', '.join(changed)}."
    if running := [e.name for e in controls.experiments if e.active]:
        yield f"Viewers have the variants of these experiments: {', '.join(running)}."


def _mean(values: Values) -> float:
    there = values[~np.isnan(values)]
    return math.fsum(there.tolist()) / len(there) if len(there) else math.nan
