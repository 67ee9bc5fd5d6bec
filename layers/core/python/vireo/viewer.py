"""A viewer's packed features, and the one function by which an event changes them.

The stream's consumer and the recommender (for videos watched in this session) apply events with the
same function, so a session looks to the models as it will look once the stream has caught up.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue import Profile
from vireo.keys import Keys

VERSION = 1
#: How much of the past models may read; 8 KB.
HISTORY_CAP = 500
#: The oldest are forgotten first; 80 KB at most, a fifth of what a record may hold.
WATCHED_CAP = 10_000
#: A watch says "liked it" from either of these on; below both the video was left.
POSITIVE_FRACTION = 0.3
POSITIVE_SECONDS = 30.0

#: version, age, country, language, joined, watches, seconds, counters, history, watched
_HEADER = struct.Struct("<Bxh2s12sxxxxddQ4I2I")


class EventType(StrEnum):
    """What a viewer can do."""

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
    """One thing that a viewer did to one video."""

    type: EventType
    video: int  #: key of the video (vireo.keys)
    time: float  #: unix seconds
    seconds: float = math.nan  #: watched, for a watch
    fraction: float = math.nan  #: of the video's length, for a watch


def _no_keys() -> Keys:
    return np.zeros(0, np.uint64)


def _no_times() -> NDArray[np.float64]:
    return np.zeros(0, np.float64)


@dataclass(frozen=True)
class Viewer:
    """Everything that is kept of a viewer; bounded, whatever they have done."""

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

    def pack(self) -> bytes:
        """One binary record: a fixed header, then history keys, their times, and watched keys."""
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
        """The inverse of `pack`. Raises ValueError on another version or a cut record."""
        if len(record) < _HEADER.size or record[0] != VERSION:
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
    """Built without validation: the profile was validated when it was written."""
    return Profile.model_construct(
        age=None if age < 0 else age,
        country=country.decode() or None,
        language=language.decode() or None,
        joined_at=None if math.isnan(joined) else datetime.fromtimestamp(joined, UTC),
    )


def is_positive(event: Event) -> bool:
    """Whether the event says that the viewer liked the video: what models learn to predict.

    A watch without seconds and fraction counts; so do like, comment and share.
    """
    if event.type is EventType.WATCH:
        if math.isnan(event.seconds) and math.isnan(event.fraction):
            return True
        return event.seconds >= POSITIVE_SECONDS or event.fraction >= POSITIVE_FRACTION
    return event.type in (EventType.LIKE, EventType.COMMENT, EventType.SHARE)


def apply(viewer: Viewer, event: Event) -> Viewer:
    """The viewer after the event.

    A positive event enters history and watched set once per video, at its place in time, as the
    training log keeps the first of every (viewer, video) pair. A disliked video leaves the history,
    never enters it again, and is never shown again. Counters count every event: the caller drops
    repeated event ids. The order in which events come makes no difference, as long as neither the
    history nor the watched set is full.
    """
    changed = _count(viewer, event)
    positive = is_positive(event)
    if not positive and event.type is not EventType.DISLIKE:
        return changed
    key = np.uint64(event.video)
    known = bool((viewer.watched == key).any())
    if not known:
        changed = replace(changed, watched=np.append(viewer.watched, key)[-WATCHED_CAP:])
    place = np.flatnonzero(viewer.keys == key)
    if not positive:
        return _without(changed, place)
    if known and not (len(place) and event.time < viewer.times[place[0]]):
        return changed
    changed = _without(changed, place)  # it came before what we took for the first
    at = int(np.searchsorted(changed.times, event.time, side="right"))
    return replace(
        changed,
        keys=np.insert(changed.keys, at, key)[-HISTORY_CAP:],
        times=np.insert(changed.times, at, event.time)[-HISTORY_CAP:],
    )


def _without(viewer: Viewer, place: NDArray[np.intp]) -> Viewer:
    if not len(place):
        return viewer
    return replace(viewer, keys=np.delete(viewer.keys, place), times=np.delete(viewer.times, place))


def _count(viewer: Viewer, event: Event) -> Viewer:
    match event.type:
        case EventType.WATCH:
            seconds = 0.0 if math.isnan(event.seconds) else event.seconds
            return replace(viewer, watches=viewer.watches + 1, seconds=viewer.seconds + seconds)
        case EventType.IMPRESSION:
            return replace(viewer, impressions=viewer.impressions + 1)
        case EventType.CLICK:
            return replace(viewer, clicks=viewer.clicks + 1)
        case EventType.LIKE | EventType.COMMENT | EventType.SHARE:
            return replace(viewer, likes=viewer.likes + 1)
        case EventType.SKIP | EventType.DISLIKE:
            return replace(viewer, skips=viewer.skips + 1)


def merge_session(viewer: Viewer, events: Iterable[Event]) -> Viewer:
    """The viewer after events that the store may not know yet, whatever order they come in.

    A video that the store knows already counts once.
    """
    for event in sorted(events, key=lambda e: (e.time, e.video, e.type)):
        if not bool((viewer.watched == np.uint64(event.video)).any()):
            viewer = apply(viewer, event)
    return viewer
