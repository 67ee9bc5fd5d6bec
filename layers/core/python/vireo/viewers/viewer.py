"""A viewer's packed features, and the one function that applies events to them.

The stream's consumer and the recommender (for the videos of a session) share this function. So the
models see a session as they will see it when the stream's events have been processed.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vireo.keys import Keys, find
from vireo.viewers.profile import Profile

#: Since version 2, a row of later events may lie beside a record (vireo.viewers.rows).
VERSION = 2
_READABLE = (1, VERSION)
#: Maximum length of the history that models read; 8 KB.
HISTORY_CAP = 500
#: Maximum size of the watched set; 80 KB, a fifth of a record's limit. The oldest are dropped.
WATCHED_CAP = 10_000
#: Events applied at once; far fewer than the watched set holds.
_AT_ONCE = 1_000
#: A watch is positive from either of these on; below both, the viewer left the video.
POSITIVE_FRACTION = 0.3
POSITIVE_SECONDS = 30.0

#: version, age, country, language, joined, watches, seconds, counters, history, watched
_HEADER = struct.Struct("<Bxh2s12sxxxxddQ4I2I")


class EventType(StrEnum):
    """A kind of event."""

    IMPRESSION = "impression"
    CLICK = "click"
    WATCH = "watch"
    LIKE = "like"
    COMMENT = "comment"
    SHARE = "share"
    SKIP = "skip"
    DISLIKE = "dislike"


@dataclass(frozen=True, slots=True)
class Event:
    """An action of a viewer on a video."""

    type: EventType
    video: int  #: key of the video (vireo.keys)
    time: float  #: unix seconds
    seconds: float = math.nan  #: watched, for a watch
    fraction: float = math.nan  #: of the video's length, for a watch


#: Types counted as likes, and as skips.
_LIKES = (EventType.LIKE, EventType.COMMENT, EventType.SHARE)
_DISLIKES = (EventType.SKIP, EventType.DISLIKE)


def _no_keys() -> Keys:
    return np.zeros(0, np.uint64)


def _no_times() -> NDArray[np.float64]:
    return np.zeros(0, np.float64)


@dataclass(frozen=True)
class Viewer:
    """All that is kept of a viewer. Its size is bounded."""

    profile: Profile = field(default_factory=Profile)
    keys: Keys = field(default_factory=_no_keys)  #: uint64 [h], recent history, oldest first
    times: NDArray[np.float64] = field(default_factory=_no_times)  #: float64 [h], unix seconds
    watched: Keys = field(default_factory=_no_keys)  #: uint64 [w], never to be shown, oldest first
    watches: int = 0  #: watch events, repeats included
    seconds: float = 0.0  #: watched in all
    impressions: int = 0
    clicks: int = 0
    likes: int = 0  #: likes, comments and shares
    skips: int = 0  #: skips and dislikes

    @property
    def events(self) -> int:
        """The number of events that are counted."""
        return self.watches + self.impressions + self.clicks + self.likes + self.skips

    def pack(self) -> bytes:
        """One binary record: a fixed header, history keys, their times, and watched keys."""
        p = self.profile
        header = _HEADER.pack(
            VERSION,
            -1 if p.age is None else p.age,
            (p.country or "").encode(),
            (p.language or "").encode(),
            math.nan if p.joined_at is None else p.joined_at.timestamp(),
            self.seconds,
            self.watches,
            *(min(c, 2**32 - 1) for c in (self.impressions, self.clicks, self.likes, self.skips)),
            len(self.keys),
            len(self.watched),
        )
        return b"".join([header, self.keys.tobytes(), self.times.tobytes(), self.watched.tobytes()])

    @classmethod
    def unpack(cls, record: bytes) -> Self:
        """The inverse of `pack`, also for version 1. Raises ValueError for any other record."""
        if len(record) < _HEADER.size or record[0] not in _READABLE:
            raise ValueError("not a viewer's record of this version")
        _, age, country, language, joined, seconds, watches, i, c, li, s, h, w = (
            _HEADER.unpack_from(record)
        )
        if len(record) != _HEADER.size + 16 * h + 8 * w:
            raise ValueError("a viewer's record was cut")
        words = np.frombuffer(record, np.uint64, offset=_HEADER.size)
        profile = _profile(age, country.rstrip(b"\0"), language.rstrip(b"\0"), joined)
        return cls(
            profile,
            words[:h],
            words[h : 2 * h].view(np.float64),
            words[2 * h :],
            watches,
            seconds,
            i,
            c,
            li,
            s,
        )


def _profile(age: int, country: bytes, language: bytes, joined: float) -> Profile:
    """The profile, without validation: it was validated when it was written."""
    return Profile.model_construct(
        age=None if age < 0 else age,
        country=country.decode() or None,
        language=language.decode() or None,
        joined_at=None if math.isnan(joined) else datetime.fromtimestamp(joined, UTC),
    )


def is_positive(event: Event) -> bool:
    """True if the event shows that the viewer liked the video: the label that models predict.

    A watch without seconds and fraction is positive; so are like, comment and share.
    """
    if event.type is EventType.WATCH:
        if math.isnan(event.seconds) and math.isnan(event.fraction):
            return True
        return event.seconds >= POSITIVE_SECONDS or event.fraction >= POSITIVE_FRACTION
    return event.type in _LIKES


def apply(viewer: Viewer, events: Iterable[Event]) -> Viewer:
    """The viewer after the events, applied one by one.

    The first positive event of a video enters it into the history, at its place in time, and into
    the watched set; the training log keeps the same event of every (viewer, video) pair. A dislike
    removes the video from the history for good, and it is never shown again. Every event is
    counted: the caller drops repeated event ids. The order of the events makes no difference while
    neither the history nor the watched set is full. Their division into calls never makes a
    difference.
    """
    given = list(events)
    for start in range(0, len(given), _AT_ONCE):
        viewer = _after(viewer, given[start : start + _AT_ONCE])
    return viewer


def _after(viewer: Viewer, events: Sequence[Event]) -> Viewer:
    marks = [e for e in events if is_positive(e) or e.type is EventType.DISLIKE]
    viewer = _counted(viewer, events)
    if not marks:
        return viewer
    history, new = _History(viewer), dict[int, None]()
    known, room = _known(viewer, {e.video for e in marks}), WATCHED_CAP - len(viewer.watched)
    for event in marks:
        first = event.video not in known
        if first:
            known.add(event.video)
            new[event.video] = None
            if len(new) > room:
                known.discard(int(viewer.watched[len(new) - room - 1]))
        if event.type is EventType.DISLIKE:
            history.remove(event.video)
        elif first or event.time < history.time_of(event.video):
            history.remove(event.video)  # this event is earlier than the one in the history
            history.insert(event.video, event.time)
    watched = np.concatenate([viewer.watched, np.fromiter(new, np.uint64, len(new))])
    keys, times = history.arrays()
    return replace(viewer, keys=keys, times=times, watched=watched[-WATCHED_CAP:])


class _History:
    """A recent history that can be changed."""

    def __init__(self, viewer: Viewer) -> None:
        self._keys: list[int] = viewer.keys.tolist()
        self._times: list[float] = viewer.times.tolist()
        self._videos = set(self._keys)

    def time_of(self, video: int) -> float:
        return self._times[self._keys.index(video)] if video in self._videos else -math.inf

    def remove(self, video: int) -> None:
        if video in self._videos:
            self._remove(self._keys.index(video))

    def insert(self, video: int, time: float) -> None:
        place = bisect_right(self._times, time)
        self._keys.insert(place, video)
        self._times.insert(place, time)
        self._videos.add(video)
        if len(self._keys) > HISTORY_CAP:
            self._remove(0)

    def _remove(self, place: int) -> None:
        self._videos.remove(self._keys[place])
        del self._keys[place], self._times[place]

    def arrays(self) -> tuple[Keys, NDArray[np.float64]]:
        return np.array(self._keys, np.uint64), np.array(self._times, np.float64)


def _known(viewer: Viewer, videos: Collection[int]) -> set[int]:
    """The subset of ``videos`` that is in the watched set."""
    wanted = np.fromiter(videos, np.uint64, len(videos))
    return set(wanted[find(np.sort(viewer.watched), wanted) >= 0].tolist())


def _counted(viewer: Viewer, events: Iterable[Event]) -> Viewer:
    """The viewer with its counters advanced."""
    kinds, seconds = Counter[EventType](), viewer.seconds
    for event in events:
        kinds[event.type] += 1
        if event.type is EventType.WATCH and not math.isnan(event.seconds):
            seconds += event.seconds
    return replace(
        viewer,
        watches=viewer.watches + kinds[EventType.WATCH],
        seconds=seconds,
        impressions=viewer.impressions + kinds[EventType.IMPRESSION],
        clicks=viewer.clicks + kinds[EventType.CLICK],
        likes=viewer.likes + sum(kinds[kind] for kind in _LIKES),
        skips=viewer.skips + sum(kinds[kind] for kind in _DISLIKES),
    )


def merge_session(viewer: Viewer, events: Iterable[Event]) -> Viewer:
    """The viewer after events that may not be stored yet, in any order.

    Events of a video that is already in the watched set are ignored.
    """
    given = sorted(events, key=lambda e: (e.time, e.video, e.type))
    known, new = _known(viewer, {e.video for e in given}), list[Event]()
    for event in given:
        if event.video not in known:
            new.append(event)
            if is_positive(event) or event.type is EventType.DISLIKE:
                known.add(event.video)
    return apply(viewer, new)
