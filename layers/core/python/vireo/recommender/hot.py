"""Recent activity on videos: features of new videos, and videos that many watch now."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue import counters
from vireo.catalogue.counters import Counts, Reader, by_video, empty, viewers
from vireo.keys import Keys, find
from vireo.ports import Item
from vireo.recommender.counted import Counted, Scale, counted_features
from vireo.recommender.video_features import VIDEO_FEATURES, Floats

DAY = 86_400.0
#: Minimum number of viewers in a day of a video that many watch. A viewer counts once.
MANY = 5
#: Number of videos that many watch, by country.
LISTED = 200
#: Number of new videos, and of (video, country) pairs that many watch, that are published. 250 KB.
NEW, PAIRS = 3072, 10_000
_WATCHED = np.dtype([("video", "<u8"), ("country", "S2"), ("viewers", "<u4")])
#: Rows of `_WATCHED`, most viewers first; b"" is anywhere.
Watched = NDArray[Any]


def _nothing() -> Watched:
    return np.zeros(0, _WATCHED)


@dataclass(frozen=True)
class Hot:
    """The hot counters (`vireo.catalogue.counters`) at a moment."""

    since: Counts = field(default_factory=empty)  #: by video since the bundle, a week at most
    watched: Watched = field(default_factory=_nothing)  #: what many watched in the last day
    FORM: ClassVar[int] = 1  #: of `pack`

    @classmethod
    def of(cls, since: Counts, lately: Counts) -> Self:
        """From counts since the bundle, and of the last day."""
        return cls(by_video(since), _watched(lately))

    @classmethod
    def read(cls, reader: Reader, watermark: float, now: float) -> Self:
        """The counts of a reader, for a bundle with events up to ``watermark`` (unix seconds)."""
        return cls.of(reader.total(watermark), reader.total(now - DAY))

    def of_new(self, new: NDArray[np.bool_]) -> Self:
        """With counts only of those videos of `since` that are new, the most active ones."""
        since = counters.bounded(self.since[new], NEW)
        order = np.lexsort((np.arange(len(self.watched)), -self.watched["viewers"].astype(int)))
        return replace(self, since=since, watched=self.watched[np.sort(order[:PAIRS])])

    def pack(self) -> Item:
        """The item of a record."""
        columns = (self.watched[name].tobytes() for name in _WATCHED.names or ())
        watched = zlib.compress(b"".join(columns), 1)
        return {"hot": self.FORM, "watched": watched, **counters.pack(self.since)}

    @classmethod
    def unpack(cls, item: Item) -> Self:
        """The inverse of `pack`. Raises ValueError for another form."""
        if item.get("hot") != cls.FORM:
            raise ValueError(f"hot videos: form {item.get('hot')}, expected {cls.FORM}")
        try:
            packed = zlib.decompress(item["watched"])
        except (KeyError, TypeError, zlib.error) as error:
            raise ValueError(f"hot videos: {error!r}") from None
        n, left = divmod(len(packed), _WATCHED.itemsize)
        if left:
            raise ValueError("hot videos: the record was cut")
        watched, start = np.zeros(n, _WATCHED), 0
        for name in _WATCHED.names or ():
            watched[name] = np.frombuffer(packed, _WATCHED[name], n, start)
            start += n * _WATCHED[name].itemsize
        return cls(counters.unpack(item), watched)

    def most_watched(self, country: str | None) -> Keys:
        """Keys of the videos that many watch now, in a country or anywhere; most watched first."""
        there = self.watched["country"] == (country or "").encode()
        keys: Keys = self.watched["video"][there]
        return keys

    def filled(self, features: Floats, keys: Keys, scale: Scale | None) -> Floats:
        """Features [k, Fv] of videos that the bundle does not have, with what is known of them.

        Args:
            features: as of the overlay.
            keys: of the videos.
            scale: the bundle's; None if it was made before bundles had one.
        """
        at = find(self.since["video"], keys)
        found = np.flatnonzero(at >= 0)
        if not len(found):
            return features
        if scale is None:
            scale = Scale.of(counted(self.since, None))
        known = counted_features(counted(self.since[at[found]], scale), scale)
        made = features.copy()
        for name, values in known.items():
            made[found, VIDEO_FEATURES.index(name)] = values
        return made


def counted(table: Counts, scale: Scale | None) -> Counted:
    """The counts of a table, weighed by the scale of a bundle; None: not weighed.

    The taste of a viewer, by which training weighs an impression, too, is not known here; it is 1
    on average.
    """
    shown, seen = table["impressions"].astype(float), table["views"].astype(float)
    views = seen.sum(axis=1) if scale is None else seen @ scale.weight
    examined = shown.sum(axis=1) if scale is None else shown @ scale.propensity
    likes, watches, clicks = (table[n].astype(float) for n in ("likes", "watches", "clicks"))
    # All views of a video that is newer than the bundle are recent ones.
    return Counted(views, views, likes, watches, examined, clicks)


def _watched(lately: Counts) -> Watched:
    everywhere = by_video(lately)
    parts = [everywhere, *(by_video(lately, c) for c in _countries(lately))]
    return np.concatenate([_nothing(), *map(_most, parts)])


def _countries(table: Counts) -> list[str]:
    return sorted(c.decode() for c in set(table["country"].tolist()) if c)


def _most(table: Counts) -> Watched:
    """The rows of a country that many watch, most viewers first, ties in order of key."""
    number = viewers(table)
    order = np.lexsort((table["video"], -number))[:LISTED]
    order = order[number[order] >= MANY]
    made = np.zeros(len(order), _WATCHED)
    made["video"], made["country"] = table["video"][order], table["country"][order]
    made["viewers"] = number[order]
    return made
