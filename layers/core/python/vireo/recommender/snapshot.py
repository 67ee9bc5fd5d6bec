"""The recommender's data at a moment: a bundle, with catalogue changes and counts since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.columns import Columns
from vireo.catalogue.models import Video
from vireo.keys import Keys, find, keys_of
from vireo.recommender.contents import ModelBundle
from vireo.recommender.hot import Hot
from vireo.recommender.loaded import PUBLIC, Loaded, in_country
from vireo.recommender.overlay import Overlay
from vireo.recommender.video_features import VIDEO_FEATURES
from vireo.vectors import Bits, LiveIndex, Rows, clear, distinct
from vireo.viewers.viewer import Viewer


@dataclass(frozen=True)
class Snapshot:
    """A loaded bundle and its overlay. Rows 0…n-1 are the bundle's, n… are new videos."""

    loaded: Loaded
    overlay: Overlay
    at: float  #: unix seconds, for the availability windows in searches
    hot: Hot = field(default_factory=Hot)
    _eligible: dict[tuple[int, int], Bits] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        loaded: Loaded | ModelBundle,
        videos: Iterable[Video] = (),
        *,
        at: float,
        texts: Mapping[str, Any] | None = None,
    ) -> Self:
        """A snapshot of a bundle with changed videos."""
        loaded = Loaded(loaded) if isinstance(loaded, ModelBundle) else loaded
        return cls(loaded, Overlay.of(loaded, videos, texts or {}), at)

    @property
    def bundle(self) -> ModelBundle:
        """The bundle under the overlay."""
        return self.loaded.bundle

    @property
    def n(self) -> int:
        """Number of the bundle's rows."""
        return len(self.loaded.columns)

    def prepare(self) -> None:
        """Compute cached values, so that the first request need not."""
        _ = self.loaded.windowed, self.newest, self.index, self.eligible(0, 17)

    @cached_property
    def new(self) -> Rows:
        """Rows of videos that are not in the bundle."""
        return self.overlay.rows[self.overlay.rows >= self.n]

    def __len__(self) -> int:
        return self.n + len(self.new)

    @cached_property
    def index(self) -> LiveIndex | None:
        """The live index over base and new rows; None without a tower."""
        index, vectors = self.loaded.index, self.overlay.vectors
        return index if index is None or vectors is None else index.add(vectors)

    def rows(self, keys: Keys) -> Rows:
        """The row of every key, -1 if unknown."""
        rows = self.loaded.columns.rows(keys)
        if len(self.new) and len(missing := np.flatnonzero(rows < 0)):
            at = self._new_columns.rows(keys[missing])
            rows[missing] = np.where(at >= 0, at + self.n, -1)
        return rows

    def row(self, video_id: str) -> int:
        """The row of one id, -1 if unknown."""
        return int(self.rows(keys_of([video_id]))[0])

    @cached_property
    def _new_columns(self) -> Columns:
        fresh = self.overlay.rows >= self.n
        return self.overlay.columns.take(fresh)

    def take(self, rows: Rows, *names: str) -> tuple[NDArray[Any], ...]:
        """Fields of `Columns` at rows, with the values of the overlay for changed videos."""
        columns, overlay = self.loaded.columns, self.overlay
        if not len(overlay.rows):
            return tuple(getattr(columns, name)[rows] for name in names)
        at = find(overlay.rows, rows)
        changed = np.flatnonzero(at >= 0)
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
        """The viewer's row in the user tower by their id (`UserTower.user`), or 0.

        Only viewers whose record reaches back before the bundle's watermark are looked up. The
        record of an erased person does not, whatever they did since; so the tower's vector of an
        erased person is never used.
        """
        tower, times = self.loaded.user_tower, stored.times
        if tower is None or not len(times) or times[0] >= self.bundle.manifest.watermark:
            return 0
        return tower.user(user_id)

    def features(self, rows: Rows) -> NDArray[np.float32]:
        """Video features [k, Fv]: of the bundle, and for new videos from the hot counters."""
        features = self.loaded.features
        if not len(self.new):
            return features[rows]
        new = rows >= self.n
        taken = np.empty((len(rows), len(VIDEO_FEATURES)), np.float32)
        taken[~new] = features[rows[~new]]
        taken[new] = self._new_features[rows[new] - self.n]
        return taken

    @cached_property
    def _new_features(self) -> NDArray[np.float32]:
        return self.hot.filled(self.overlay.features, self._new_columns.keys, self.loaded.scale)

    def most_watched(self, country: int) -> Rows:
        """Rows that many watch now: first in the country, then anywhere."""
        there = self.bundle.vocabulary.countries[country - 1] if country else None
        keys = [self.hot.most_watched(where) for where in dict.fromkeys((there, None))]
        rows = self.rows(np.concatenate(keys))
        return rows[rows >= 0]

    def eligible(self, country: int, rating: int) -> Bits:
        """Bitmap of the rows that may be shown in a country, up to an age rating.

        It is shared: copy it before changing it.
        """
        bits = self._eligible.get((country, rating))
        if bits is None:
            bits = self._eligible[country, rating] = self._make_eligible(country, rating)
        return bits

    def _make_eligible(self, country: int, rating: int) -> Bits:
        loaded = self.loaded
        bits = np.zeros(-(-len(self) // 8), np.uint8)
        base = loaded.in_country(country) & loaded.rated_up_to(rating)
        bits[: len(base)] = base
        w, c = loaded.windowed, loaded.columns
        clear(bits, w[~((c.available_from[w] <= self.at) & (self.at < c.available_until[w]))])
        rows, o = self.overlay.rows, self.overlay.columns
        shown = (o.status == PUBLIC) & (o.age_rating <= rating)
        shown &= (o.available_from <= self.at) & (self.at < o.available_until)
        shown &= in_country(o.countries, country)
        clear(bits, rows)
        yes = rows[shown]
        np.bitwise_or.at(bits, yes >> 3, np.uint8(1) << (yes & 7).astype(np.uint8))
        return bits

    @cached_property
    def newest(self) -> tuple[Rows, NDArray[np.float64]]:
        """Rows by publishing time, newest first, and these times.

        The publishing time of a new video without one is the time of this snapshot.
        """
        rows = distinct(np.concatenate([self.loaded.newest, self.overlay.rows]))
        (published,) = self.take(rows, "published")
        published = np.where(np.isnan(published) & (rows >= self.n), self.at, published)
        known = ~np.isnan(published)
        rows, published = rows[known], published[known]
        order = np.lexsort((rows, -published))
        return rows[order], published[order]
