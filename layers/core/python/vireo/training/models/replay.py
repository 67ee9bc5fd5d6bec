"""Replay of a log through the serving code: its candidates, features and lists.

Training and evaluation use the stages of serving, over a bundle that knows only the past. So models
are trained and judged on the same inputs that they have when they serve.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vireo.recommender.candidates import candidates
from vireo.recommender.contents import ModelBundle
from vireo.recommender.filtering import Filtering
from vireo.recommender.loaded import Loaded
from vireo.recommender.ordering import Ordering
from vireo.recommender.ranking import kept, rank
from vireo.recommender.request import Request
from vireo.recommender.slate import Slate
from vireo.recommender.snapshot import Snapshot
from vireo.recommender.steering.controls import Controls
from vireo.training.data.activity import Activity, Watching
from vireo.training.data.log import Log
from vireo.training.data.requests import Requests
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import HISTORY_CAP, WATCHED_CAP, Viewer

#: The stage after which a slate is taken: retrieval, filtering, ranking of all candidates (without
#: or with the ranker), or the final list.
Stage = Literal["retrieval", "filtered", "unranked", "ranked", "final"]
#: Snapshots over the replayed time, each with its own availability, like polls in serving.
REFRESHES = 50


@dataclass(frozen=True)
class Replay:
    """The replay of one log with one bundle, which may be older and have other videos."""

    bundle: ModelBundle
    log: Log
    activity: Activity | None = None
    controls: Controls = field(default_factory=Controls)  #: that give every viewer a tuning
    _retrieved: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def under(self, controls: Controls) -> Self:
        """The replay with those controls; the same one, with its cache, if they tune alike."""
        mine = self.controls
        if (mine.tuning, mine.experiments) == (controls.tuning, controls.experiments):
            return self
        return replace(self, controls=controls, _retrieved={})

    def slates(
        self, requests: Requests, stage: Stage, *, limit: int = 20
    ) -> Iterator[tuple[Request, Slate]]:
        """Every request and its slate after that stage, in the order of ``requests``.

        The candidates are cached until other requests are given, because evaluations take one stage
        after another.
        """
        if self._retrieved.get("requests") is not requests:
            found = [(r, candidates(r)) for r in self._asked(requests, limit)]
            self._retrieved.update(requests=requests, slates=found)
        for request, slate in self._retrieved["slates"]:
            asked = replace(request, limit=limit)
            yield asked, _go_on(asked, slate, stage)

    def lists(self, requests: Requests, stage: Stage, k: int) -> NDArray[np.int32]:
        """Rows of the log's videos, best first, -1 after the end of a list: int32 [r, k]."""
        lists = np.full((len(requests), k), -1, np.int32)
        for j, (_, slate) in enumerate(self.slates(requests, stage, limit=min(k, 100))):
            rows = slate.rows if stage == "final" else slate.top(k).rows
            rows = self._log_rows[rows[:k]]
            rows = rows[rows >= 0]
            lists[j, : len(rows)] = rows
        return lists

    def candidates(
        self, requests: Requests, stage: Stage
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """All candidates after a stage, best first, with their scores: [r, longest slate].

        Rows of the log's videos, -1 after the end of a slate or for a video that is not in the log;
        their scores are NaN.
        """
        slates = [slate.top(len(slate)) for _, slate in self.slates(requests, stage)]
        width = max((len(s) for s in slates), default=0)
        rows = np.full((len(slates), width), -1, np.int32)
        scores = np.full((len(slates), width), np.nan, np.float32)
        for j, slate in enumerate(slates):
            rows[j, : len(slate)] = self._log_rows[slate.rows]
            scores[j, : len(slate)] = slate.score
        scores[rows < 0] = np.nan
        return rows, scores

    def rows_of(self, log_rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """The bundle's rows of the log's videos, -1 for those that are not in it."""
        rows: NDArray[np.int32] = self._bundle_rows[log_rows]
        return rows

    def log_rows(self, rows: NDArray[np.integer]) -> NDArray[np.int32]:
        """The log's rows of the bundle's videos, -1 for those that are not in it."""
        found: NDArray[np.int32] = self._log_rows[rows]
        return found

    @cached_property
    def _model(self) -> Loaded:
        return Loaded(self.bundle)

    @cached_property
    def _bundle_rows(self) -> NDArray[np.int32]:
        return self.bundle.columns.rows(self.log.videos.keys)

    @cached_property
    def _log_rows(self) -> NDArray[np.int32]:
        return self.log.videos.rows(self.bundle.columns.keys)

    @cached_property
    def _watching(self) -> Watching | None:
        return None if self.activity is None else Watching.of(self.activity, self.log.n_users)

    def _asked(self, requests: Requests, limit: int) -> Iterator[Request]:
        """The requests as in serving: with profiles, histories, and availability."""
        if not len(requests):
            return
        histories = requests.histories(self.log)
        keys, words = self.log.videos.keys, self.log.vocabulary
        order, _ = self.log.histories()
        first, last = float(requests.time.min()), float(requests.time.max())
        period = max((last - first) / REFRESHES, 1.0)
        snapshots: dict[int, Snapshot] = {}
        for j in range(len(requests)):
            now = float(requests.time[j])
            tick = int((now - first) // period)
            if tick not in snapshots:
                snapshots[tick] = Snapshot.of(self._model, at=first + tick * period)
            past = slice(histories.offsets[j], histories.offsets[j + 1])
            user, device = int(requests.user[j]), self._device(order, requests, j)
            viewer = self._viewer(user, keys[histories.video[past]], histories.time[past], now)
            name = self.log.people.ids[user].decode()
            yield Request.of(
                snapshots[tick],
                viewer,
                now,
                limit=limit,
                device=words.devices[device - 1] if device else None,
                tuning=self.controls.tuning_for(name)[0],
                user_id=name,
                user=snapshots[tick].user(name, viewer),
            )

    def _device(self, order: NDArray[np.int64], requests: Requests, j: int) -> int:
        """The device of the viewer's latest event, which is likely to be the current one."""
        if requests.stop[j] == requests.start[j]:
            return 0
        return int(self.log.device[order[requests.stop[j] - 1]])

    def _viewer(
        self, user: int, keys: NDArray[np.uint64], times: NDArray[np.float64], now: float
    ) -> Viewer:
        people, words = self.log.people, self.log.vocabulary
        age, country, language = (
            int(people.age[user]),
            int(people.country[user]),
            int(people.language[user]),
        )
        watches, seconds = (
            (len(keys), 0.0) if self._watching is None else self._watching.before(user, now)
        )
        return Viewer(
            profile=Profile.model_construct(
                age=None if age < 0 else age,
                country=words.countries[country - 1] if country else None,
                language=words.languages[language - 1] if language else None,
                joined_at=None,
            ),
            keys=keys[-HISTORY_CAP:],
            times=times[-HISTORY_CAP:],
            watched=keys[-WATCHED_CAP:],
            watches=watches,
            seconds=seconds,
        )


def _go_on(request: Request, slate: Slate, stage: Stage) -> Slate:
    """The slate after the given stage, from that after retrieval."""
    if stage == "retrieval":
        return slate
    slate = Filtering()(request, slate)
    if stage == "filtered":
        return slate
    if stage == "unranked":
        tuning = request.tuning.model_copy(update={"use_ranker": False})
        return rank(replace(request, tuning=tuning), slate)
    if stage == "ranked":
        return rank(request, slate)
    return Ordering()(request, kept(request, rank(request, slate)))
