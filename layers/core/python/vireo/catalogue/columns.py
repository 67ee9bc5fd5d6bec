"""Videos as columns: the one encoding shared by training, bundles and the overlay.

A catalogue of n videos is a `Columns`: arrays of length n in ascending order of 64-bit key. The row
of a video is found by binary search, and does not depend on the order in which videos were added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.models import Status, Video
from vireo.keys import Keys, find, key_of, keys_of

STATUS_CODES = {Status.PUBLIC: 0, Status.PRIVATE: 1, Status.DELETED: 2}


@dataclass(frozen=True)
class Vocabulary:
    """The known values of categorical fields. Code 0 is "unknown"; value j has code j + 1."""

    categories: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    def code(self, kind: str, value: str | None) -> int:
        """The code of a value of ``kind`` (a field of this class); 0 for an unknown value."""
        return self._codes()[kind].get(value, 0) if value is not None else 0

    def codes(self, kind: str, values: Sequence[str | None]) -> NDArray[np.int16]:
        """The `code` of every value."""
        known = self._codes()[kind]
        return np.array([0 if v is None else known.get(v, 0) for v in values], np.int16)

    def size(self, kind: str) -> int:
        """Number of codes of ``kind``, including that of "unknown"."""
        return len(getattr(self, kind)) + 1

    def _codes(self) -> dict[str, dict[str, int]]:
        cached: dict[str, dict[str, int]] | None = self.__dict__.get("_cache")
        if cached is None:
            cached = {
                f.name: {v: j + 1 for j, v in enumerate(getattr(self, f.name))}
                for f in fields(self)
            }
            self.__dict__["_cache"] = cached
        return cached

    def as_dict(self) -> dict[str, list[str]]:
        """The values as plain lists, for a manifest."""
        return {f.name: list(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, lists: Mapping[str, Sequence[str]]) -> Self:
        """The inverse of `as_dict`."""
        return cls(**{f.name: tuple(lists[f.name]) for f in fields(cls)})


@dataclass(frozen=True)
class Columns:
    """Videos as arrays of length n, in ascending order of key (see `encode`)."""

    keys: Keys  #: uint64 [n], ascending
    ids: NDArray[np.bytes_]  #: S[n], UTF-8
    titles: NDArray[np.bytes_]  #: S[n], UTF-8, cut to 120 bytes
    category: NDArray[np.int16]  #: code in the vocabulary
    language: NDArray[np.int16]
    channel: Keys  #: uint64 [n], key of the channel's id, 0 unknown
    duration: NDArray[np.float32]  #: seconds, NaN unknown
    published: NDArray[np.float64]  #: unix seconds, NaN unknown
    status: NDArray[np.uint8]  #: STATUS_CODES
    age_rating: NDArray[np.uint8]  #: minimum age in years, 0 for all
    available_from: NDArray[np.float64]  #: unix seconds, -inf without a window
    available_until: NDArray[np.float64]  #: unix seconds, +inf without a window
    #: uint8 [n, ceil((C + 1) / 8)]: bit c (little-endian) says that country code c may see it
    countries: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, keys: Keys) -> NDArray[np.int32]:
        """The row of every key, -1 where absent: int32, the shape of ``keys``."""
        return find(self.keys, keys).astype(np.int32)

    def take(self, which: NDArray[Any]) -> Self:
        """The videos at those rows, or under that mask. `rows` needs them in order of key."""
        return type(self)(**{name: array[which] for name, array in self.arrays().items()})

    def row(self, video_id: str) -> int:
        """The row of a video id, -1 if it is absent."""
        return int(self.rows(keys_of([video_id]))[0])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, for a bundle."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def country_bits(video: Video, vocabulary: Vocabulary) -> NDArray[np.uint8]:
    """A bit set of the country codes that may see a video; bit 0 stands for all unknown countries.

    An allow list admits only the countries that it names, so an unknown country is refused. A block
    list admits all others, but unknown ones only if every country that it names is known.
    """
    allowed = np.zeros(-(-vocabulary.size("countries") // 8) * 8, np.uint8)
    if video.countries_allowed is not None:
        for country in video.countries_allowed:
            allowed[vocabulary.code("countries", country)] = 1
        allowed[0] = 0
    else:
        allowed[:] = 1
    for country in video.countries_blocked:
        allowed[vocabulary.code("countries", country)] = 0
    return np.packbits(allowed, bitorder="little")


def encode(videos: Sequence[Video], vocabulary: Vocabulary) -> Columns:
    """Columns of the videos, in ascending order of key.

    Raises:
        ValueError: two videos have the same key.
    """
    keys = keys_of(v.video_id for v in videos)
    order = np.argsort(keys, kind="stable")
    ranked = [videos[j] for j in order]
    keys = keys[order]
    if len(keys) > 1 and bool((keys[1:] == keys[:-1]).any()):
        twice = ranked[int(np.flatnonzero(keys[1:] == keys[:-1])[0])].video_id
        raise ValueError(f"two videos share the key of {twice!r}")

    def stamp(value: Any, default: float) -> float:
        return default if value is None else float(value.timestamp())

    width = -(-vocabulary.size("countries") // 8)
    # Most videos share these with many others.
    where = {(v.countries_allowed, v.countries_blocked): v for v in ranked}
    bits = {limits: country_bits(v, vocabulary) for limits, v in where.items()}
    channels = {c: key_of(c) if c else 0 for c in {v.channel_id for v in ranked}}
    return Columns(
        keys=keys,
        ids=np.array([v.video_id.encode() for v in ranked], dtype=np.bytes_),
        titles=np.array([_cut(v.title) for v in ranked], dtype=np.bytes_),
        category=vocabulary.codes("categories", [v.category for v in ranked]),
        language=vocabulary.codes("languages", [v.language for v in ranked]),
        channel=np.array([channels[v.channel_id] for v in ranked], np.uint64),
        duration=np.array(
            [np.nan if v.duration_seconds is None else v.duration_seconds for v in ranked],
            np.float32,
        ),
        published=np.array([stamp(v.published_at, np.nan) for v in ranked], np.float64),
        status=np.array([STATUS_CODES[v.status] for v in ranked], np.uint8),
        age_rating=np.array([v.age_rating for v in ranked], np.uint8),
        available_from=np.array([stamp(v.available_from, -np.inf) for v in ranked], np.float64),
        available_until=np.array([stamp(v.available_until, np.inf) for v in ranked], np.float64),
        countries=np.array(
            [bits[v.countries_allowed, v.countries_blocked] for v in ranked], np.uint8
        ).reshape(len(ranked), width),
    )


def _cut(title: str) -> bytes:
    """At most 120 bytes of UTF-8, cut between characters."""
    return title.encode()[:120].decode(errors="ignore").encode()
