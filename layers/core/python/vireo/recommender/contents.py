"""The bundle of the recommender's models: its arrays, and the checks that they are consistent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

from numpy.typing import NDArray

from vireo.bundles.files import Bundle
from vireo.bundles.manifest import MANIFEST, BundleRefused, Manifest
from vireo.catalogue.columns import Columns, Vocabulary
from vireo.catalogue.places import GROUPS
from vireo.catalogue.updates import Mark
from vireo.text import EMBEDDER_ID
from vireo.vectors import build_index

#: The entry of a manifest's config that says which change of the catalogue is the last included.
CHANGES = "changes"
#: Arrays that every bundle must have.
NEEDED = (*(f"columns/{f.name}" for f in fields(Columns)), "features", "popular")
#: Arrays with a row for every video; optional ones are checked if present.
PER_VIDEO = (*(name for name in NEEDED if name != "popular"), "vectors", "opener_score")


@dataclass(frozen=True)
class ModelBundle(Bundle):
    """The models, and the catalogue that they were made for; `architecture.md` lists the arrays.

    ``columns/*``, ``features`` and ``popular`` are always there. Without ``vectors`` and
    ``tower/*`` a bundle serves only popular videos.
    """

    @classmethod
    def build(
        cls,
        *,
        version: str,
        created_at: float,
        watermark: float,
        vocabulary: Vocabulary,
        columns: Columns,
        arrays: Mapping[str, NDArray[Any]],
        config: Mapping[str, Any],
        index: Any = None,
    ) -> Self:
        """A bundle in memory. Without ``index`` one is built from ``arrays["vectors"]``."""
        whole = {f"columns/{name}": a for name, a in columns.arrays().items()} | dict(arrays)
        if index is None and "vectors" in whole:
            index = build_index(whole["vectors"])
        manifest = Manifest(
            version=version,
            created_at=created_at,
            watermark=watermark,
            embedder_id=EMBEDDER_ID,
            vocabulary=vocabulary.as_dict(),
            config=dict(config),
        )
        bundle = cls(manifest, whole, index)
        bundle.check()
        return bundle

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The meaning of the categorical codes in the columns."""
        return Vocabulary.from_dict(self.manifest.vocabulary)

    @cached_property
    def columns(self) -> Columns:
        """The videos of this bundle."""
        return Columns(**{f.name: self.arrays[f"columns/{f.name}"] for f in fields(Columns)})

    @property
    def changes(self) -> Mark | None:
        """The last change of the catalogue that is included; None: made before they had numbers."""
        found = self.config.get(CHANGES)
        return None if found is None else Mark(*found)

    def check(self) -> None:
        """Raise `BundleRefused` for another embedder, a missing array or a wrong length."""
        super().check()
        embedder = self.manifest.embedder_id
        if embedder != EMBEDDER_ID:
            raise BundleRefused(MANIFEST, f"embedder {embedder}, expected {EMBEDDER_ID}")
        for name in NEEDED:
            if name not in self.arrays:
                raise BundleRefused(f"{name}.npy", "missing")
        n = len(self.arrays["columns/keys"])
        for name in PER_VIDEO:
            if name in self.arrays and len(self.arrays[name]) != n:
                raise BundleRefused(f"{name}.npy", f"{len(self.arrays[name])} rows, expected {n}")
        for name in ("scale/propensity", "scale/weight"):
            if name in self.arrays and len(self.arrays[name]) != GROUPS:
                raise BundleRefused(f"{name}.npy", f"another number of groups than {GROUPS}")
        for name in ("neighbours/indptr", "successors/indptr"):
            if name in self.arrays and len(self.arrays[name]) != n + 1:
                raise BundleRefused(f"{name}.npy", "another number of videos")
