"""Simulated sessions of viewers in front of a feed: slates, choices, and time watched.

All sessions of a day advance together, one choice at a time. A slate holds videos that follow from
the last one (the next episode, related videos, its channel), videos of the viewer's taste, and
videos that are popular, fresh or on a channel they follow. The viewer chooses by taste, by the
relation to the last video, and by position.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vireo.training.generator.world import DAY, Floats, Ints, Videos, Viewers

#: The source of each place of the slate, and what a source adds to a video's attraction.
SOURCES = (
    "next",
    "related",
    "topic",
    "topic",
    "channel",
    "taste",
    "taste",
    "popular",
    "fresh",
    "followed",
)
_PULL = {"next": 4.2, "channel": 0.4, "followed": 0.4}
#: Weight of the similarity to the last video in a video's attraction.
MOMENTUM = 3.0
#: Parts of a day (UTC) in which sessions start: night, morning, afternoon, evening.
_PARTS = 4
_SATISFIED = 0.9


@dataclass(frozen=True)
class Choices:
    """s choices in no particular order, with the slates that they were made from."""

    viewer: Ints
    video: Ints
    shown_at: Floats  #: unix seconds
    seconds: Floats  #: watched
    fraction: Floats
    device: Ints
    position: Ints  #: place of the chosen video on the slate, from 0
    pleased: NDArray[np.bool_]
    slate: Ints  #: [s, places] videos in order of place, -1 where there is none


@dataclass
class _Sessions:
    viewer: Ints
    time: Floats  #: unix seconds of the next choice
    length: Ints
    device: Ints


def watch(
    rng: np.random.Generator,
    videos: Videos,
    viewers: Viewers,
    *,
    start: float,
    days: int,
    choices: int,
    structured: bool,
) -> Choices:
    """About ``choices`` choices of all viewers in ``days`` days from ``start`` (unix seconds)."""
    sessions = _sessions(rng, viewers, start, days, choices)
    feed = _Feed(rng, videos, viewers, sessions, _Seen(choices, len(videos.ids)))
    part = ((sessions.time - start) // (DAY / _PARTS)).astype(np.int64)
    order = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[order], np.arange(days * _PARTS + 1))
    made: list[Choices] = []
    shelf: _Shelf | None = None
    # Parts of a day are simulated in order, because a session depends on the end of the last one.
    for j in range(days * _PARTS):
        if structured and j % _PARTS == 0:
            shelf = _Shelf(videos, start + j / _PARTS * DAY)
        made += feed.go(shelf, order[bounds[j] : bounds[j + 1]], j / (days * _PARTS))
    columns = {f.name: np.concatenate([getattr(c, f.name) for c in made]) for f in fields(Choices)}
    in_time = columns["shown_at"] + columns["seconds"] < start + days * DAY
    return Choices(**{name: column[in_time] for name, column in columns.items()})


class _Feed:
    """The state of the simulation: videos seen, and the last video of every viewer."""

    def __init__(
        self,
        rng: np.random.Generator,
        videos: Videos,
        viewers: Viewers,
        sessions: _Sessions,
        seen: _Seen,
    ) -> None:
        self._rng, self._videos, self._viewers = rng, videos, viewers
        self._sessions, self._seen = sessions, seen
        self._last = np.full(len(viewers.ids), -1)

    def go(self, shelf: _Shelf | None, alive: Ints, drifted: float) -> list[Choices]:
        """All choices in sessions of different viewers; ``drifted`` (0–1) is the tastes' drift."""
        steps: list[Choices] = []
        while len(alive):
            made, going = self._step(shelf, alive, drifted, first=not steps)
            steps.append(made)
            alive = alive[going & (self._sessions.length[alive] > len(steps))]
        return steps

    def _step(
        self, shelf: _Shelf | None, alive: Ints, drifted: float, *, first: bool
    ) -> tuple[Choices, NDArray[np.bool_]]:
        """One choice in every session, and a mask of the sessions that had something to choose."""
        rng, videos, sessions = self._rng, self._videos, self._sessions
        viewer, time = sessions.viewer[alive], sessions.time[alive]
        if shelf is None:
            slate = rng.integers(len(videos.ids), size=(len(alive), len(SOURCES)))
            attraction = np.zeros(slate.shape)
        else:
            before, after = self._viewers.before[viewer], self._viewers.after[viewer]
            taste = before + drifted * (after - before)
            slate = shelf.slate(rng, self._viewers, viewer, taste, self._last[viewer])
            language = self._viewers.language[viewer]
            last = self._last[viewer]
            attraction = attraction_of(videos, taste, language, slate)
            # The last video of an earlier session attracts less than one watched a minute ago.
            attraction += _led_on(videos, slate, last) * (0.9 if first else 1.0)
        attraction[~_may_see(videos, self._viewers, viewer, slate, time)] = -np.inf
        attraction[self._seen.has(viewer, slate)] = -np.inf
        chosen, slate, position, pull = _choose(rng, slate, attraction)
        seconds, fraction, pleased = consume(rng, videos, pull, chosen, equal=shelf is None)
        going = np.isfinite(pull)
        self._seen.add(viewer[going], chosen[going])
        self._last[viewer[going]] = chosen[going]
        sessions.time[alive] = time + seconds + rng.lognormal(np.log(7), 1.0, len(alive))
        made = Choices(
            viewer=viewer[going],
            video=chosen[going],
            shown_at=time[going],
            seconds=seconds[going],
            fraction=fraction[going],
            device=sessions.device[alive[going]],
            position=position[going],
            pleased=pleased[going],
            slate=slate[going],
        )
        return made, going


def _sessions(
    rng: np.random.Generator, viewers: Viewers, start: float, days: int, choices: int
) -> _Sessions:
    """Sessions of 1–40 videos, at most one per viewer and quarter of a day."""
    mean_length = 7
    draws = int(choices / mean_length * 2.5) + 20
    p = viewers.activity / viewers.activity.sum()
    viewer = rng.choice(len(p), draws, p=p)
    joined = ((viewers.joined[viewer] - start) / DAY).clip(0, days - 1)
    day = (joined + rng.random(draws) * (days - joined)).astype(np.int64)
    evening = rng.random(draws) < viewers.evening[viewer]
    part = np.where(evening, 3, rng.choice(3, draws, p=[0.1, 0.35, 0.55]))
    _, first = np.unique((viewer * days + day) * _PARTS + part, return_index=True)
    first = rng.permutation(first)
    length = np.minimum(rng.geometric(1 / mean_length, len(first)), 40)
    enough = int(np.searchsorted(np.cumsum(length), choices)) + 1
    first, length = np.sort(first[:enough]), length[:enough]
    hours = part[first] * 6 + rng.random(len(first)) * 3
    time = np.maximum(start + day[first] * DAY + hours * 3600, viewers.joined[viewer[first]])
    other = rng.random(len(first)) < 0.15
    device = np.where(other, rng.integers(4, size=len(first)), viewers.device[viewer[first]])
    return _Sessions(viewer[first], time, length, device)


class _Seen:
    """A set of (viewer, video) pairs: a hashed bit table. A rare false positive hides a video."""

    def __init__(self, choices: int, n_videos: int) -> None:
        self._bits = max(16, int(np.ceil(np.log2(choices * 32))))
        self._table = np.zeros(1 << self._bits, bool)
        self._n = n_videos

    def _at(self, viewer: Ints, video: Ints) -> NDArray[np.uint64]:
        key = (viewer * self._n + video).astype(np.uint64)
        # Fibonacci hashing: multiples of the golden ratio are evenly spread in the high bits.
        return (key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - self._bits)

    def has(self, viewer: Ints, videos: Ints) -> NDArray[np.bool_]:
        return np.asarray(self._table[self._at(viewer[:, None], videos)])

    def add(self, viewer: Ints, video: Ints) -> None:
        self._table[self._at(viewer, video)] = True


class _Shelf:
    """The videos available on one day, drawn by their popularity on that day."""

    def __init__(self, videos: Videos, midnight: float) -> None:
        self._videos = videos
        age = (midnight + DAY - videos.published) / DAY
        there = (age > 0) & (videos.removed > midnight) & (videos.opens < midnight + DAY)
        fading = np.exp(-np.maximum(age, 0) / 6)
        weight = np.where(there, videos.appeal * (videos.evergreen + 3 * fading), 0)
        self._by_category = _Drawer(videos.category, weight)
        self._by_topic = _Drawer(videos.topic, weight)
        self._by_channel = _Drawer(videos.channel, weight)
        self._all = _Drawer(np.zeros(len(weight), np.int64), weight**1.2)
        self._fresh = _Drawer(np.zeros(len(weight), np.int64), np.where(age < 4, weight, 0))
        sums = np.zeros((int(videos.category.max()) + 1, videos.taste.shape[1]))
        np.add.at(sums, videos.category, videos.taste)
        self._categories = sums / (np.linalg.norm(sums, axis=1, keepdims=True) + 1e-9)

    def slate(
        self, rng: np.random.Generator, viewers: Viewers, viewer: Ints, taste: Floats, last: Ints
    ) -> Ints:
        """Videos [m, places] in the order of `SOURCES`, -1 where a source has none."""
        m, videos = len(viewer), self._videos
        fit = taste @ self._categories.T * 6
        liked = np.exp(fit - fit.max(1, keepdims=True)).cumsum(1)
        favourite = viewers.favourites[viewer, rng.integers(viewers.favourites.shape[1], size=m)]
        started = last >= 0
        places = []
        for source in SOURCES:
            match source:
                case "next":
                    place = np.where(started, videos.following[last], -1)
                case "related":
                    which = rng.integers(videos.related.shape[1], size=m)
                    place = np.where(started, videos.related[last, which], -1)
                case "topic":
                    place = np.where(started, self._by_topic.draw(rng, videos.topic[last]), -1)
                case "channel":
                    place = np.where(started, self._by_channel.draw(rng, videos.channel[last]), -1)
                case "taste":
                    category = (liked < rng.random(m)[:, None] * liked[:, -1:]).sum(1)
                    place = self._by_category.draw(rng, category)
                case "popular":
                    place = self._all.draw(rng, np.zeros(m, np.int64))
                case "fresh":
                    place = self._fresh.draw(rng, np.zeros(m, np.int64))
                case _:
                    place = self._by_channel.draw(rng, favourite)
            places.append(place)
        return np.stack(places, 1)


class _Drawer:
    """Draws members of groups with probability proportional to their weight."""

    def __init__(self, group: Ints, weight: Floats) -> None:
        self._order = np.argsort(group, kind="stable")
        self._ends = np.r_[0.0, np.cumsum(weight[self._order])]
        self._bounds = np.searchsorted(group[self._order], np.arange(int(group.max()) + 2))

    def draw(self, rng: np.random.Generator, group: Ints) -> Ints:
        """One video for each given group, -1 where all its weights are 0."""
        low, high = self._ends[self._bounds[group]], self._ends[self._bounds[group + 1]]
        at = np.searchsorted(self._ends, low + rng.random(len(group)) * (high - low), "right") - 1
        at = np.minimum(at, len(self._order) - 1)
        return np.where(high > low, self._order[at], -1)


def attraction_of(videos: Videos, taste: Floats, spoken: Ints, slate: Ints) -> Floats:
    """The attraction of each video of the slate to a viewer of that taste [m, places]."""
    fit = np.einsum("md,mkd->mk", taste, videos.taste[slate])
    language = videos.language[slate]
    foreign = (language != spoken[:, None]) * np.where(language == 0, 0.4, 2.0)
    return np.asarray(6.5 * fit - foreign + 0.3 * np.log(videos.appeal[slate]))


def _led_on(videos: Videos, slate: Ints, last: Ints) -> Floats:
    """The attraction that the last video adds to each one of the slate [m, places]; 0 for -1."""
    likeness = np.einsum("md,mkd->mk", videos.taste[last], videos.taste[slate])
    pull = np.array([_PULL.get(source, 0.0) for source in SOURCES])
    return np.asarray((pull + MOMENTUM * likeness) * (last >= 0)[:, None])


def _may_see(
    videos: Videos, viewers: Viewers, viewer: Ints, slate: Ints, time: Floats
) -> NDArray[np.bool_]:
    """Mask by availability, country and age [m, places]; each video once per slate."""
    at = time[:, None]
    open_ = (
        (videos.published[slate] <= at) & (videos.removed[slate] > at) & (videos.opens[slate] <= at)
    )
    allowed = videos.allowed[slate, viewers.country[viewer][:, None]]
    adult = videos.age_rating[slate] <= viewers.age[viewer][:, None]
    earlier = np.tril(np.ones((slate.shape[1],) * 2, bool), -1)
    twice = ((slate[:, :, None] == slate[:, None, :]) & earlier).any(2)
    return np.asarray((slate >= 0) & open_ & allowed & adult & ~twice)


def _choose(
    rng: np.random.Generator, slate: Ints, attraction: Floats
) -> tuple[Ints, Ints, Ints, Floats]:
    """The chosen videos, slates in order of place, chosen places, and attractions (-inf: none).

    The feed orders by a noisy estimate of the attraction; the viewer's choice is a multinomial
    logit (Gumbel noise) in which lower places count less.
    """
    guess = 0.5 * attraction + rng.gumbel(size=slate.shape)
    order = np.argsort(-guess, axis=1, kind="stable")
    attraction = np.take_along_axis(attraction, order, 1)
    slate = np.where(np.isfinite(attraction), np.take_along_axis(slate, order, 1), -1)
    seen = attraction - 0.6 * np.log1p(np.arange(slate.shape[1])) + rng.gumbel(size=slate.shape)
    position = seen.argmax(1)
    at = np.arange(len(slate))
    return slate[at, position], slate, position, attraction[at, position]


def consume(
    rng: np.random.Generator, videos: Videos, pull: Floats, chosen: Ints, *, equal: bool
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Seconds and fraction watched, and whether the viewer was pleased."""
    m = len(chosen)
    odds = np.log(_SATISFIED / (1 - _SATISFIED)) + (0.0 if equal else 0.5 * (pull - 4.0))
    with np.errstate(over="ignore"):
        pleased = rng.random(m) < 1 / (1 + np.exp(-odds))
    fraction = np.where(pleased, 0.3 + 0.7 * rng.beta(3, 1.2, m), 0.3 * rng.beta(1.2, 3, m))
    # Nobody watches for more than an hour and a half at a time.
    seconds = np.minimum(fraction * videos.duration[chosen], 5400)
    return seconds, seconds / videos.duration[chosen], pleased
