"""Generated viewers in front of lists that no model under test has made, and what they would like.

Attention to places is known, and so is what everybody would click if they looked: so lists of a
model that was trained on the clicks can be judged by what cannot be seen in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vireo.training import generator
from vireo.training.data import event_table
from vireo.training.data.dataset import Dataset
from vireo.training.data.log import Log
from vireo.training.data.prepared import Prepared
from vireo.training.data.preprocess import from_dataset
from vireo.training.data.requests import Requests
from vireo.training.generator.audience import Audience

DAYS, DAY, SHOWN = 4, 86_400.0, 20
#: How lists are ordered: by a score of the videos that says nothing of them, or by that, what was
#: popular on the days before and, a little, by what suits the viewer.
Policy = Literal["made up", "popular"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Biased:
    """What was collected, and the truth: of the log's viewers and videos, in its rows."""

    data: Dataset
    prepared: Prepared
    liking: Floats  #: [m, n] how likely a viewer clicks a video that they look at
    open: NDArray[np.bool_]  #: [m, n] videos that a viewer may see and has not watched
    attention: Floats  #: [SHOWN] how likely a place is looked at

    def clicks(self, lists: NDArray[np.integer]) -> Floats:
        """Clicks to be expected on a list for every viewer, -1 where it has ended: [m]."""
        liking = np.take_along_axis(self.liking, np.maximum(lists, 0), 1)
        return np.asarray(np.where(lists < 0, 0, liking) @ self.attention[: lists.shape[1]])

    def lists(self, scores: Floats) -> NDArray[np.int64]:
        """Everybody's list of `SHOWN` by scores [n] of the videos."""
        return np.argsort(-np.where(self.open, scores, -np.inf), 1, kind="stable")[:, :SHOWN]

    def asked(self) -> Requests:
        """Every viewer asks once, an hour after everything."""
        log = self.prepared.log
        _, offsets = log.histories()
        last = np.full(log.n_users, -np.inf)
        np.maximum.at(last, log.user, log.time)
        now = float(log.time[-1]) + 3600
        return Requests(
            user=np.arange(log.n_users, dtype=np.int32),
            time=np.full(log.n_users, now),
            pause=now - last,
            start=offsets[:-1],
            stop=offsets[1:],
            target_offsets=np.zeros(log.n_users + 1, np.int64),
            target=np.zeros(0, np.int32),
        )


def collected(
    seed: int, policy: Policy, bias: float, *, requests: int = 6_000, videos: int = 300
) -> Biased:
    """Four days of lists for 200 viewers, who look at place p with probability (1 + p)^-bias."""
    size = generator.Settings(200, videos, 1, seed=seed, structure="none")
    rng, made, viewers = generator.people(size)
    audience = Audience(rng, made, viewers, bias=bias)
    allowed = made.allowed[:, viewers.country].T & (made.age_rating <= viewers.age[:, None])
    seen = np.zeros_like(allowed)
    visits = _Visits(audience, allowed, seen, made.ids, policy)
    rows = list(visits.events(requests, size.end, np.random.default_rng([seed, 1])))
    names = [f.name for f in event_table.SCHEMA if f.name not in ("slot", "variant", "rating")]
    table = pa.Table.from_pylist([{n: r.get(n) for n in names if n != "sequence"} for r in rows])
    good, bad, _ = event_table.check(table)
    assert not len(bad)
    catalogue = sorted(made.catalogue, key=lambda v: v.video_id)
    data = Dataset(good, catalogue, viewers.profiles)
    prepared = from_dataset(data, now=size.end + (DAYS + 1) * DAY)
    who, which = _rows(prepared.log, viewers.ids, made.ids)
    pull = np.array([audience.attraction(v, made.ids) for v in who])[:, which]
    return Biased(
        data,
        prepared,
        liking=1 / (1 + np.exp(-0.8 * (pull - 4.0))),
        open=(allowed & ~seen)[np.ix_(who, which)],
        attention=np.asarray((1.0 + np.arange(SHOWN)) ** -bias, np.float64),
    )


@dataclass(frozen=True)
class _Visits:
    audience: Audience
    allowed: NDArray[np.bool_]  #: [viewers, videos]
    seen: NDArray[np.bool_]  #: likewise; what is watched is noted here
    ids: list[str]  #: of the videos
    policy: Policy

    def events(
        self, requests: int, begin: float, draw: np.random.Generator
    ) -> Iterator[dict[str, Any]]:
        """Of so many visits, spread over the days from ``begin`` (unix seconds)."""
        n, row = len(self.ids), {video: j for j, video in enumerate(self.ids)}
        favour, watched, known = draw.normal(size=n), np.zeros(n), np.zeros(n)
        for j, viewer in enumerate(self.audience.visitors(requests).tolist()):
            if j % (requests // DAYS) == 0:
                known = np.log1p(watched)
            if self.policy == "made up":
                score = favour + 0.5 * draw.normal(size=n)
            else:
                suits = self.audience.attraction(viewer, self.ids)
                score = known + 0.5 * favour + 0.3 * suits + 0.7 * draw.normal(size=n)
            score[self.seen[viewer] | ~self.allowed[viewer]] = -np.inf
            shown = [self.ids[r] for r in np.argsort(-score)[:SHOWN].tolist()]
            now = begin + DAYS * DAY * j / requests
            for event in self.audience.react(viewer, shown, f"r{j}", now):
                if event["type"] == "watch":
                    self.seen[viewer, row[event["video_id"]]] = True
                    watched[row[event["video_id"]]] += 1
                yield event


def _rows(
    log: Log, viewers: list[str], videos: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the log's viewers and videos are in those lists."""
    found = []
    for ids, names in ((log.people.ids, viewers), (log.videos.ids, videos)):
        at = {name.encode(): j for j, name in enumerate(names)}
        found.append(np.array([at[i] for i in ids.tolist()], np.int64))
    return found[0], found[1]
