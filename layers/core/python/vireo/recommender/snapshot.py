"""What is true at a moment: a bundle and, over it, what changed and what happened since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vireo import text
from vireo.bundles.files import Bundle
from vireo.catalogue.columns import STATUS_CODES, Columns, encode
from vireo.catalogue.models import Status, Video
from vireo.keys import Keys, keys_of
from vireo.recommender.hot import Hot
from vireo.recommender.neighbours import Neighbours
from vireo.recommender.tower import ContentTower, UserTower
from vireo.recommender.trees import Trees
from vireo.recommender.video_features import VIDEO_FEATURES, video_features
from vireo.vectors import Bits, LiveIndex, Rows, best, bits_of, clear, distinct
from vireo.viewers.viewer import Viewer

#: How many of a bundle's newest videos may be proposed as fresh.
NEWEST = 500
_PUBLIC = STATUS_CODES[Status.PUBLIC]


def _table(bundle: Bundle, name: str) -> Neighbours | None:
    arrays = bundle.group(name)
    return Neighbours.from_arrays(arrays) if arrays else None


class Model:
    """A bundle made ready: towers, ranker, tables, and bitmaps of what may be shown to whom."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.columns = bundle.columns
        self.features: NDArray[np.float32] = bundle.arrays["features"]
        tower = bundle.group("tower")
        self.user_tower = UserTower.from_arrays(tower) if tower else None
        self.content_tower = ContentTower.from_arrays(tower) if tower else None
        vectors = bundle.arrays.get("vectors")
        self.index = None if vectors is None else LiveIndex.of(vectors, bundle.index)
        self.neighbours = _table(bundle, "neighbours")
        self.successors = _table(bundle, "successors")
        ranker = bundle.group("ranker")
        self.ranker = Trees(ranker) if ranker else None
        self.popular: Rows = bundle.arrays["popular"]
        none = np.zeros(0, np.int32)
        self.openers: Rows = bundle.arrays.get("openers", none)
        self.trending: Rows = bundle.arrays.get("trending", self.popular[0])
        self._bits: dict[tuple[str, int], Bits] = {}
        self._places: dict[int, tuple[Rows, Rows]] = {}

    @cached_property
    def windowed(self) -> Rows:
        """Rows that are available for a limited time only."""
        c = self.columns
        limited = (c.available_from > -np.inf) | (c.available_until < np.inf)
        return np.flatnonzero(limited).astype(np.int32)

    @cached_property
    def newest(self) -> Rows:
        """Rows of the latest known publishing times, newest first."""
        published = self.columns.published
        known = np.isfinite(published)
        if len(published) > NEWEST:  # of a million few are sorted, and nothing is copied twice
            times = np.where(known, published, -np.inf)
            times.partition(-NEWEST)
            known &= published >= times[-NEWEST]
        rows = np.flatnonzero(known).astype(np.int32)
        return best(rows, published[rows], NEWEST)[0]

    def in_country(self, country: int) -> Bits:
        """Bitmap of the rows that country code may see."""
        countries = self.columns.countries
        return self._cached("country", country, lambda: _in_country(countries, country))

    def rated_up_to(self, rating: int) -> Bits:
        """Bitmap of the public rows with at most that age rating."""
        c = self.columns
        return self._cached(
            "rating", rating, lambda: (c.status == _PUBLIC) & (c.age_rating <= rating)
        )

    def _cached(self, kind: str, value: int, mask: Any) -> Bits:
        bits = self._bits.get((kind, value))
        if bits is None:
            bits = self._bits[kind, value] = bits_of(mask())
        return bits

    def has_popular(self, country: int) -> bool:
        """Whether it is known what is popular there."""
        return country < len(self.popular) and bool((self.popular[country] >= 0).any())

    def popular_in(self, country: int) -> Rows:
        """Rows most popular there, best first; worldwide where the country has none."""
        rows: Rows = self.popular[country] if country < len(self.popular) else self.popular[0]
        rows = rows[rows >= 0]
        if not len(rows):
            rows = self.popular[0][self.popular[0] >= 0]
        return rows

    def places(self, country: int, rows: Rows) -> NDArray[np.float32]:
        """Place (0 is best) of rows among the popular of a country, NaN outside."""
        if country not in self._places:
            popular = self.popular_in(country)
            order = np.argsort(popular, kind="stable").astype(np.int32)
            self._places[country] = (popular[order], order)
        popular, order = self._places[country]
        if not len(popular):
            return np.full(len(rows), np.nan, np.float32)
        at = np.minimum(np.searchsorted(popular, rows), len(popular) - 1)
        return np.where(popular[at] == rows, order[at], np.float32(np.nan)).astype(np.float32)


def _in_country(countries: NDArray[np.uint8], country: int) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = countries[:, country >> 3] & np.uint8(1 << (country & 7)) != 0
    return inside


@dataclass(frozen=True)
class Overlay:
    """The c videos that changed since the bundle: base rows ascending, then new rows n, n + 1, …"""

    rows: Rows  #: [c]
    columns: Columns  #: of those c, in the order of ``rows``
    features: NDArray[np.float32]  #: [new, Fv]
    vectors: NDArray[np.float32] | None  #: [new, d + 1] by the content tower

    @classmethod
    def of(cls, model: Model, videos: Iterable[Video], texts: Mapping[str, Any]) -> Self:
        """Encode changed videos.

        Args:
            videos: the latest state of each, deleted ones too (by their status).
            texts: embedded texts by video id; what is missing is embedded here.
        """
        known = list(videos)
        ids = np.array([model.columns.row(v.video_id) for v in known], np.int64)
        # A video that came and went since the bundle leaves no trace.
        kept = [v for v, r in zip(known, ids, strict=True) if r >= 0 or v.status != Status.DELETED]
        columns = encode(kept, model.bundle.vocabulary)
        base = model.columns.rows(columns.keys)
        new = np.flatnonzero(base < 0)
        base[new] = len(model.columns) + np.arange(len(new))
        order = np.argsort(base, kind="stable")
        ranked = Columns(**{f.name: getattr(columns, f.name)[order] for f in fields(Columns)})
        fresh = Columns(**{f.name: getattr(columns, f.name)[new] for f in fields(Columns)})
        vectors = None
        if model.content_tower is not None:
            by_id = {v.video_id.encode(): v for v in kept}
            sketches = [_text(by_id[i], texts) for i in fresh.ids.tolist()]
            vectors = model.content_tower.encode(
                fresh.category,
                fresh.language,
                fresh.duration,
                np.array(sketches, np.float32).reshape(len(new), text.TEXT_BUCKETS),
            )
        return cls(base[order], ranked, video_features(fresh), vectors)


def _text(video: Video, texts: Mapping[str, Any]) -> Any:
    found = texts.get(video.video_id)
    return text.embed(text.describe(video.title, video.tags)) if found is None else found


@dataclass(frozen=True)
class Snapshot:
    """A model and its overlay. Rows 0…n-1 are the bundle's, n… are new since."""

    model: Model
    overlay: Overlay
    at: float  #: unix seconds: the moment that availability windows are judged at for searching
    hot: Hot = field(default_factory=Hot)
    _eligible: dict[tuple[int, int], Bits] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        model: Model | Bundle,
        videos: Iterable[Video] = (),
        *,
        at: float,
        texts: Mapping[str, Any] | None = None,
    ) -> Self:
        """A snapshot of a bundle with these changed videos over it."""
        model = Model(model) if isinstance(model, Bundle) else model
        return cls(model, Overlay.of(model, videos, texts or {}), at)

    @property
    def bundle(self) -> Bundle:
        """What this snapshot lies over."""
        return self.model.bundle

    @property
    def n(self) -> int:
        """Rows of the bundle."""
        return len(self.model.columns)

    def prepare(self) -> None:
        """Make now what the first request would wait for."""
        _ = self.model.windowed, self.newest, self.index, self.eligible(0, 17)

    @cached_property
    def new(self) -> Rows:
        """Rows that the bundle does not have."""
        return self.overlay.rows[self.overlay.rows >= self.n]

    def __len__(self) -> int:
        return self.n + len(self.new)

    @cached_property
    def index(self) -> LiveIndex | None:
        """The live index over base and new rows; None without a tower."""
        index, vectors = self.model.index, self.overlay.vectors
        return index if index is None or vectors is None else index.add(vectors)

    def rows(self, keys: Keys) -> Rows:
        """Row of every key, -1 where it is unknown."""
        rows = self.model.columns.rows(keys)
        if len(self.new) and len(missing := np.flatnonzero(rows < 0)):
            at = self._new_columns.rows(keys[missing])
            rows[missing] = np.where(at >= 0, at + self.n, -1)
        return rows

    def row(self, video_id: str) -> int:
        """Row of one id, -1 if it is unknown."""
        return int(self.rows(keys_of([video_id]))[0])

    @cached_property
    def _new_columns(self) -> Columns:
        fresh = self.overlay.rows >= self.n
        all_columns = self.overlay.columns
        return Columns(**{f.name: getattr(all_columns, f.name)[fresh] for f in fields(Columns)})

    def take(self, rows: Rows, *names: str) -> tuple[NDArray[Any], ...]:
        """Fields of `Columns` at rows, with the overlay's values where it has any."""
        columns, overlay = self.model.columns, self.overlay
        if not len(overlay.rows):
            return tuple(getattr(columns, name)[rows] for name in names)
        at = np.minimum(np.searchsorted(overlay.rows, rows), len(overlay.rows) - 1)
        changed = np.flatnonzero(overlay.rows[at] == rows)
        if not self.n:
            return tuple(getattr(overlay.columns, name)[at] for name in names)
        base, at = np.minimum(rows, self.n - 1), at[changed]
        taken = []
        for name in names:
            values, over = getattr(columns, name)[base], getattr(overlay.columns, name)
            if len(changed):
                if values.dtype != over.dtype:  # longer strings than the bundle's
                    values = values.astype(np.promote_types(values.dtype, over.dtype))
                values[changed] = over[at]
            taken.append(values)
        return tuple(taken)

    def user(self, user_id: str, stored: Viewer) -> int:
        """What the user tower knows of a viewer by their id: `UserTower.user`, or 0.

        Only the id of somebody whose record reaches back before the bundle's watermark is looked
        up. The record of a person who was erased does not, whatever they did since, so that what
        the bundle learnt of them before is not used.
        """
        tower, times = self.model.user_tower, stored.times
        if tower is None or not len(times) or times[0] >= self.bundle.manifest.watermark:
            return 0
        return tower.user(user_id)

    def features(self, rows: Rows) -> NDArray[np.float32]:
        """Per-video features: as of the bundle, of new videos from the hot counters: [k, Fv]."""
        features = self.model.features
        if not len(self.new):
            return features[rows]
        new = rows >= self.n
        taken = np.empty((len(rows), len(VIDEO_FEATURES)), np.float32)
        taken[~new] = features[rows[~new]]
        taken[new] = self._new_features[rows[new] - self.n]
        return taken

    @cached_property
    def _new_features(self) -> NDArray[np.float32]:
        return self.hot.filled(self.overlay.features, self._new_columns.keys)

    def most_watched(self, country: int) -> Rows:
        """Rows that many watch now, there first and then anywhere."""
        there = self.bundle.vocabulary.countries[country - 1] if country else None
        keys = [self.hot.most_watched(where) for where in dict.fromkeys((there, None))]
        rows = self.rows(np.concatenate(keys))
        return rows[rows >= 0]

    def eligible(self, country: int, rating: int) -> Bits:
        """Bitmap of what may be shown to a viewer there who may see up to that rating.

        Shared: copy before changing it.
        """
        bits = self._eligible.get((country, rating))
        if bits is None:
            bits = self._eligible[country, rating] = self._make_eligible(country, rating)
        return bits

    def _make_eligible(self, country: int, rating: int) -> Bits:
        model = self.model
        bits = np.zeros(-(-len(self) // 8), np.uint8)
        base = model.in_country(country) & model.rated_up_to(rating)
        bits[: len(base)] = base
        w, c = model.windowed, model.columns
        clear(bits, w[~((c.available_from[w] <= self.at) & (self.at < c.available_until[w]))])
        rows, o = self.overlay.rows, self.overlay.columns
        shown = (o.status == _PUBLIC) & (o.age_rating <= rating)
        shown &= (o.available_from <= self.at) & (self.at < o.available_until)
        shown &= _in_country(o.countries, country)
        clear(bits, rows)
        yes = rows[shown]
        np.bitwise_or.at(bits, yes >> 3, np.uint8(1) << (yes & 7).astype(np.uint8))
        return bits

    @cached_property
    def newest(self) -> tuple[Rows, NDArray[np.float64]]:
        """Rows by publishing time, newest first, and those times.

        A new video without one counts as published when it was seen first.
        """
        rows = distinct(np.concatenate([self.model.newest, self.overlay.rows]))
        (published,) = self.take(rows, "published")
        published = np.where(np.isnan(published) & (rows >= self.n), self.at, published)
        known = ~np.isnan(published)
        rows, published = rows[known], published[known]
        order = np.lexsort((rows, -published))
        return rows[order], published[order]
