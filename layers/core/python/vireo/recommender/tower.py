"""The two towers on the request path: vectors of viewers and new videos, in plain numpy.

`vireo.training.models.tower_model` is the same computation in JAX, with the names of the weights; a
test compares the two. A score is the inner product of a viewer's and a video's vector. The last
component of a video's vector is its bias, that of a viewer's vector is 1.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vireo.keys import Keys, find, keys_of
from vireo.recommender.pauses import HISTORY_PAUSE_BUCKETS, HISTORY_PAUSE_EDGES, pause_bucket

Floats = NDArray[np.float32]

#: Years; bucket 0 is "unknown".
AGE_EDGES = (13, 18, 25, 35, 45, 55, 65)
AGE_BUCKETS = len(AGE_EDGES) + 2
#: Seconds; bucket 0 is "unknown".
DURATION_EDGES = (15, 30, 60, 120, 240, 480, 900, 1800, 3600, 6000, 9000)
DURATION_BUCKETS = len(DURATION_EDGES) + 2

#: Scale of item vectors as inputs: they are trained as outputs, and have small entries.
INPUT_SCALE = 2.8
#: Decay per item of the four running sums, each scaled to unit variance.
DECAYS = (0.5, 0.8, 0.95, 0.99)
#: Index of the running sum that, with the last item, forms the attention's query.
QUERY_DECAY = 1
NORM_EPSILON = 1e-5


def age_bucket(age: int) -> int:
    """Bucket of an age in years; negative if unknown."""
    return 0 if age < 0 else 1 + bisect_right(AGE_EDGES, age)


def duration_buckets(seconds: Floats) -> NDArray[np.int8]:
    """Bucket of a video's duration in seconds; NaN if unknown."""
    known = 1 + np.searchsorted(DURATION_EDGES, seconds, side="right")
    return np.where(np.isnan(seconds), 0, known).astype(np.int8)


def decay_weights(length: int) -> Floats:
    """Weights of the running sums by distance from the newest item: [4, length]."""
    decays = np.array(DECAYS)[:, None]
    weights: Floats = (decays ** np.arange(length) * np.sqrt(1 - decays**2)).astype(np.float32)
    return weights


@dataclass(frozen=True)
class Users:
    """The learned vectors of viewers' ids, in towers that are trained with ids."""

    keys: Keys  #: uint64 [m], ascending
    vectors: Floats  #: [1 + m, d], first that of an unknown viewer

    def row(self, user_id: str) -> int:
        """The viewer's row of `vectors`."""
        return 1 + int(find(self.keys, keys_of([user_id]))[0])


@dataclass(frozen=True)
class UserTower:
    """Encodes a viewer's recent history, its pauses and the profile as a query vector.

    Arrays are named in `vireo.training.models.tower_model`. Those by distance are stored reversed,
    so that the last column is that of the newest item and h items use the last h columns.
    """

    length: int  #: maximum number of inputs, including the start
    start: Floats  #: [d] input before the first item of every history
    pause: Floats  #: [7, d]
    query: Floats  #: [2 d, heads × d]
    distance: Floats  #: [heads, length], newest last
    decays: Floats  #: [4, length], newest last
    hidden: Floats  #: [(1 + heads + 4) d, hidden]
    profile: tuple[
        Floats, Floats, Floats, Floats
    ]  #: age (with the bias), country, language, device
    out: Floats  #: [hidden, d]
    out_bias: Floats  #: [d]
    scale: Floats  #: [4, d] by the pause before the request
    shift: Floats  #: [4, d]
    users: Users | None  #: None: trained without viewers' ids

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The tower in a bundle's arrays, named without their ``tower/`` prefix."""
        users = "users/keys" in arrays
        d = len(arrays["start"])
        length = arrays["distance"].shape[1]
        norm_scale, norm_shift = arrays["norm/scale"], arrays["norm/shift"]
        request_scale = arrays["request/scale"]
        return cls(
            length=length,
            start=_ready(arrays["start"] * INPUT_SCALE),
            pause=_ready(arrays["pause"]),
            query=_ready(arrays["query"] / np.sqrt(d)),
            distance=_ready(arrays["distance"][:, ::-1]),
            decays=_ready(decay_weights(length)[:, ::-1]),
            hidden=_ready(arrays["hidden/w"]),
            profile=(
                _ready(arrays["age"] + arrays["hidden/b"]),
                _ready(arrays["country"]),
                _ready(arrays["language"]),
                _ready(arrays["device"]),
            ),
            out=_ready(arrays["out/w"]),
            out_bias=_ready(arrays["out/b"]),
            scale=_ready(request_scale * norm_scale),
            shift=_ready(request_scale * norm_shift + arrays["request/shift"]),
            users=Users(arrays["users/keys"], _ready(arrays["users/vectors"])) if users else None,
        )

    def user(self, user_id: str) -> int:
        """The argument ``user`` of `encode` for this viewer; 0 if the id is unknown."""
        return 0 if self.users is None else self.users.row(user_id)

    def encode(
        self,
        vectors: Floats,
        times: NDArray[np.float64],
        now: float,
        *,
        age: int,
        country: int,
        language: int,
        device: int,
        user: int = 0,
    ) -> Floats:
        """The query vector of one request: float32 [d + 1], its last component 1.

        Args:
            vectors: [h, d] of the watched items, oldest first, without the bias; h may be 0.
            times: [h] unix seconds of those events, ascending.
            now: unix seconds of the request.
            age: years, -1 unknown.
            country: a code of the vocabulary, 0 unknown.
            language: likewise.
            device: likewise.
            user: see `user`; 0 unknown.
        """
        x = self._inputs(vectors, times)
        n, d = x.shape
        last = x[-1]
        sums = self.decays[:, -n:] @ x
        query = np.concatenate((last, sums[QUERY_DECAY])) @ self.query
        attention = query.reshape(-1, d) @ x.T
        attention += self.distance[:, -n:]
        attention -= attention.max(axis=1, keepdims=True)
        np.exp(attention, out=attention)
        attention /= attention.sum(axis=1, keepdims=True)
        y = np.concatenate((last, (attention @ x).ravel(), sums.ravel())) @ self.hidden
        for table, code in zip(
            self.profile, (age_bucket(age), country, language, device), strict=True
        ):
            y += table[code if code < len(table) else 0]
        np.maximum(y, 0, out=y)
        z = y @ self.out
        z += self.out_bias
        z += last
        if self.users is not None:
            z += self.users.vectors[user]
        z -= z.sum() / d
        z *= 1 / np.sqrt(z @ z / d + NORM_EPSILON)
        bucket = pause_bucket(now - float(times[-1]) if len(times) else None)
        encoded = np.ones(d + 1, np.float32)
        np.multiply(z, self.scale[bucket], out=encoded[:d])
        encoded[:d] += self.shift[bucket]
        return encoded

    def _inputs(self, vectors: Floats, times: NDArray[np.float64]) -> Floats:
        """The last items, each with its preceding pause; first the start, if within `length`."""
        h = len(vectors)
        kept = min(h, self.length)
        started = kept < self.length
        x = np.empty((kept + started, len(self.start)), np.float32)
        if started:
            np.add(self.start, self.pause[-1], out=x[0])
        if kept:
            np.multiply(vectors[h - kept :], np.float32(INPUT_SCALE), out=x[started:])
            buckets = np.full(kept, HISTORY_PAUSE_BUCKETS - 1)
            known = times[max(0, h - kept - 1) :]  # one earlier event gives the first pause
            buckets[kept - len(known) + 1 :] = np.searchsorted(
                HISTORY_PAUSE_EDGES, known[1:] - known[:-1], side="right"
            )
            x[started:] += self.pause[buckets]
        return x


@dataclass(frozen=True)
class ContentTower:
    """Encodes the metadata of a video as its vector, before anybody has watched it."""

    category: Floats  #: [categories, hidden], with the bias of the layer
    language: Floats  #: [languages, hidden]
    duration: Floats  #: [13, hidden]
    text: Floats  #: [512, hidden]
    out: Floats  #: [hidden, d]
    out_bias: Floats  #: [d]
    neutral: np.float32  #: the bias of a video of unknown popularity

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The tower in a bundle's arrays, named without their ``tower/`` prefix."""
        return cls(
            category=_ready(arrays["content/category"] + arrays["content/b"]),
            language=_ready(arrays["content/language"]),
            duration=_ready(arrays["content/duration"]),
            text=_ready(arrays["content/text"]),
            out=_ready(arrays["content/out/w"]),
            out_bias=_ready(arrays["content/out/b"]),
            neutral=np.float32(arrays["content/neutral"]),
        )

    def encode(
        self,
        category: NDArray[np.int16],
        language: NDArray[np.int16],
        duration: Floats,
        text: Floats,
    ) -> Floats:
        """Vectors of m videos: float32 [m, d + 1], the last component a neutral bias.

        Args:
            category: [m] codes of the vocabulary.
            language: [m] codes of the vocabulary.
            duration: [m] seconds, NaN unknown.
            text: [m, 512] of `vireo.text.embed`.
        """
        y = text @ self.text
        y += self.category[_known(category, self.category)]
        y += self.language[_known(language, self.language)]
        y += self.duration[duration_buckets(duration)]
        np.maximum(y, 0, out=y)
        vectors = np.full((len(y), self.out.shape[1] + 1), self.neutral, np.float32)
        vectors[:, :-1] = y @ self.out + self.out_bias
        return vectors


def _known(codes: NDArray[np.int16], table: Floats) -> NDArray[np.int16]:
    """Codes, with 0 for those that are newer than the model."""
    return np.where(codes < len(table), codes, 0).astype(np.int16)


def _ready(array: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(array, dtype=np.float32)
