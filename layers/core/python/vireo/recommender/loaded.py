"""A bundle prepared for serving, once for all requests."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.columns import STATUS_CODES
from vireo.catalogue.models import Status
from vireo.keys import find
from vireo.recommender.contents import ModelBundle
from vireo.recommender.counted import Scale
from vireo.recommender.neighbours import Neighbours
from vireo.recommender.tower import ContentTower, UserTower
from vireo.recommender.trees import Trees
from vireo.vectors import Bits, LiveIndex, Rows, best, bits_of

#: Number of the newest videos as of a bundle that can be candidates as fresh ones.
NEWEST = 500
PUBLIC = STATUS_CODES[Status.PUBLIC]


def _table(bundle: ModelBundle, name: str) -> Neighbours | None:
    arrays = bundle.group(name)
    return Neighbours.from_arrays(arrays) if arrays else None


class Loaded:
    """A bundle prepared for serving: towers, ranker, tables, and bitmaps of eligible rows."""

    def __init__(self, bundle: ModelBundle) -> None:
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
        scale = bundle.group("scale")
        self.scale = Scale.from_arrays(scale) if scale else None
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
        """Rows with the latest known publishing times, newest first.

        Those that were to be published after the bundle was made are all there, because a video of
        tomorrow must not take the place of one of today.
        """
        published = self.columns.published
        out = published <= self.bundle.manifest.created_at
        later = np.flatnonzero(np.isfinite(published) & ~out).astype(np.int32)
        if len(published) > NEWEST:  # sorts only a few of a million, with one copy
            times = np.where(out, published, -np.inf)
            times.partition(-NEWEST)
            out &= published >= times[-NEWEST]
        rows = np.flatnonzero(out & np.isfinite(published)).astype(np.int32)
        newest: Rows = np.concatenate(
            [best(later, published[later], len(later))[0], best(rows, published[rows], NEWEST)[0]]
        )
        return newest

    def in_country(self, country: int) -> Bits:
        """Bitmap of the rows that may be shown in a country, by its code."""
        countries = self.columns.countries
        return self._cached("country", country, lambda: in_country(countries, country))

    def rated_up_to(self, rating: int) -> Bits:
        """Bitmap of the public rows with at most that age rating."""
        c = self.columns
        return self._cached(
            "rating", rating, lambda: (c.status == PUBLIC) & (c.age_rating <= rating)
        )

    def _cached(self, kind: str, value: int, mask: Any) -> Bits:
        bits = self._bits.get((kind, value))
        if bits is None:
            bits = self._bits[kind, value] = bits_of(mask())
        return bits

    def has_popular(self, country: int) -> bool:
        """True if popular videos of the country are known."""
        return country < len(self.popular) and bool((self.popular[country] >= 0).any())

    def popular_in(self, country: int) -> Rows:
        """The most popular rows of a country, best first; worldwide if the country has none."""
        rows: Rows = self.popular[country] if country < len(self.popular) else self.popular[0]
        rows = rows[rows >= 0]
        if not len(rows):
            rows = self.popular[0][self.popular[0] >= 0]
        return rows

    def places(self, country: int, rows: Rows) -> NDArray[np.float32]:
        """Rank (0 is best) of rows among the popular ones of a country, NaN outside."""
        if country not in self._places:
            popular = self.popular_in(country)
            order = np.argsort(popular, kind="stable").astype(np.int32)
            self._places[country] = (popular[order], order)
        popular, order = self._places[country]
        places = np.full(len(rows), np.nan, np.float32)
        at = find(popular, rows)
        places[at >= 0] = order[at[at >= 0]]
        return places


def in_country(countries: NDArray[np.uint8], country: int) -> NDArray[np.bool_]:
    """Mask of the videos of a `Columns.countries` that may be shown in a country: bool [n]."""
    inside: NDArray[np.bool_] = countries[:, country >> 3] & np.uint8(1 << (country & 7)) != 0
    return inside
