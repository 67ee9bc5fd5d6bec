"""Changes of the catalogue since a bundle, in the bundle's own encoding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vireo import text
from vireo.catalogue.columns import Columns, encode
from vireo.catalogue.models import Status, Video
from vireo.keys import keys_of
from vireo.recommender.loaded import Loaded
from vireo.recommender.video_features import video_features
from vireo.vectors import Rows


@dataclass(frozen=True)
class Overlay:
    """The c videos that changed since the bundle: base rows ascending, then new rows n, n + 1, …"""

    rows: Rows  #: [c]
    columns: Columns  #: of those c, in the order of ``rows``
    features: NDArray[np.float32]  #: [new, Fv]
    vectors: NDArray[np.float32] | None  #: [new, d + 1] by the content tower

    @classmethod
    def of(cls, loaded: Loaded, videos: Iterable[Video], texts: Mapping[str, Any]) -> Self:
        """The overlay of changed videos.

        Args:
            loaded: the bundle.
            videos: the latest state of each, including deleted ones (by their status).
            texts: text vectors by video id; missing ones are computed here.
        """
        known = list(videos)
        deleted = [v.video_id for v in known if v.status == Status.DELETED]
        rows = loaded.columns.rows(keys_of(deleted)).tolist()
        # A video that was added and deleted since the bundle is left out.
        gone = {name for name, row in zip(deleted, rows, strict=True) if row < 0}
        kept = [v for v in known if v.video_id not in gone]
        columns = encode(kept, loaded.bundle.vocabulary)
        base = loaded.columns.rows(columns.keys)
        new = np.flatnonzero(base < 0)
        base[new] = len(loaded.columns) + np.arange(len(new))
        order = np.argsort(base, kind="stable")
        fresh = columns.take(new)
        vectors = None
        if loaded.content_tower is not None:
            by_id = {v.video_id: v for v in kept}
            sketches = [_text(by_id[i.decode()], texts) for i in fresh.ids.tolist()]
            vectors = loaded.content_tower.encode(
                fresh.category,
                fresh.language,
                fresh.duration,
                np.array(sketches, np.float32).reshape(len(new), text.TEXT_BUCKETS),
            )
        return cls(base[order], columns.take(order), video_features(fresh), vectors)


def _text(video: Video, texts: Mapping[str, Any]) -> Any:
    found = texts.get(video.video_id)
    return text.embed(text.describe(video.title, video.tags)) if found is None else found
