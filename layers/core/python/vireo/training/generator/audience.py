"""Simulated viewers of real recommendations: they click and watch what they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vireo.training.generator.feed import MOMENTUM, attraction_of, consume
from vireo.training.generator.world import COUNTRIES, DEVICES, Floats, Ints, Videos, Viewers

#: Attraction at which half of the viewed videos are clicked.
_INDIFFERENT = 4.0


@dataclass(frozen=True)
class Choice:
    """A click, with the time watched after it."""

    place: int
    seconds: float
    fraction: float


class Audience:
    """Viewers with hidden tastes.

    A viewer looks at place p of a list with probability (1 + p)^-bias, independent of the video
    there. They click a video that they look at with a probability that depends on its attraction:
    their taste, the last video, its appeal and language.
    """

    def __init__(
        self, rng: np.random.Generator, videos: Videos, viewers: Viewers, *, bias: float = 0.6
    ) -> None:
        self._rng, self._videos, self._viewers, self._bias = rng, videos, viewers, bias
        self._rows = {video_id: row for row, video_id in enumerate(videos.ids)}
        self._last: Ints = np.full(len(viewers.ids), -1)
        self._events = 0

    def visitors(self, n: int) -> Ints:
        """Rows of n random viewers, active ones more often: [n]."""
        share = self._viewers.activity / self._viewers.activity.sum()
        return self._rng.choice(len(share), n, p=share)

    def request(self, viewer: int) -> dict[str, Any]:
        """The body of a request for recommendations for a viewer."""
        device = DEVICES[self._viewers.device[viewer]]
        return {"user_id": self._viewers.ids[viewer], "context": {"device": device}}

    def attraction(self, viewer: int, shown: Sequence[str]) -> Floats:
        """The attraction of each video to the viewer now: [k]."""
        v, rows = self._videos, np.array([[self._rows[video_id] for video_id in shown]])
        taste, language = self._viewers.after[[viewer]], self._viewers.language[[viewer]]
        pull = attraction_of(v, taste, language, rows)[0]
        if self._last[viewer] >= 0:
            pull = pull + 0.5 * MOMENTUM * (v.taste[rows[0]] @ v.taste[self._last[viewer]])
        return np.asarray(pull)

    def choose(self, viewer: int, shown: Sequence[str]) -> list[Choice]:
        """The viewer's clicks on a list of videos, by place."""
        pull = self.attraction(viewer, shown)
        looks = self._rng.random(len(shown)) < (1.0 + np.arange(len(shown))) ** -self._bias
        likes = self._rng.random(len(shown)) < 1 / (1 + np.exp(-0.8 * (pull - _INDIFFERENT)))
        made = []
        for place in np.flatnonzero(looks & likes).tolist():
            row = np.array([self._rows[shown[place]]])
            watched, part, pleased = consume(
                self._rng, self._videos, pull[[place]], row, equal=False
            )
            made.append(Choice(place, float(watched[0]), float(part[0])))
            if pleased[0]:
                self._last[viewer] = row[0]
        return made

    def react(
        self, viewer: int, shown: Sequence[str], request_id: str, now: float
    ) -> list[dict[str, Any]]:
        """Events of a viewer who is shown these videos, in this order; as a client sends them."""
        if not shown:
            return []
        common = {
            "user_id": self._viewers.ids[viewer],
            "device": DEVICES[self._viewers.device[viewer]],
            "country": tuple(COUNTRIES)[self._viewers.country[viewer]],
            "request_id": request_id,
        }
        found = [self._event(common, v, "impression", j, now) for j, v in enumerate(shown)]
        for choice in self.choose(viewer, shown):
            video = shown[choice.place]
            click = self._event(common, video, "click", choice.place, now)
            now += choice.seconds
            watch = self._event(common, video, "watch", choice.place, now)
            watch |= {"watch_seconds": choice.seconds, "watch_fraction": choice.fraction}
            found += [click, watch]
        return found

    def _event(
        self, common: dict[str, Any], video: str, kind: str, place: int, now: float
    ) -> dict[str, Any]:
        self._events += 1
        return {
            **common,
            "event_id": f"s{self._events:09d}",
            "video_id": video,
            "type": kind,
            "timestamp": now,
            "position": place,
        }
