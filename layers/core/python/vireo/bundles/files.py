"""The immutable, checksummed artifact that training makes and serving reads.

A bundle is a manifest, named arrays and one FAISS index. The same object lives in memory without a
folder, so that training can run the serving code on models that it has only just fitted.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from vireo.bundles import manifest as manifests
from vireo.bundles.manifest import INDEX, MANIFEST, BundleRefused, Manifest
from vireo.catalogue.columns import Columns, Vocabulary
from vireo.ports import Blobs, Conflict, Missing
from vireo.vectors import build_index

#: Arrays below this many bytes are read; mapping them would cost more than it saves.
_MAP_FROM = 1 << 16
#: How the name of a folder begins that is being downloaded.
_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Bundle:
    """A manifest, its arrays by name (see `architecture.md`), and the index of ``vectors``.

    ``columns/*``, ``features`` and ``popular`` are always there; a bundle without ``vectors`` and
    ``tower/*`` can serve popularity alone.
    """

    manifest: Manifest
    arrays: Mapping[str, NDArray[Any]]
    index: Any  #: faiss.Index, or None without vectors

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
        _check_shapes(whole)
        if index is None and "vectors" in whole:
            index = build_index(whole["vectors"])
        manifest = Manifest(
            version=version,
            created_at=created_at,
            watermark=watermark,
            vocabulary=vocabulary.as_dict(),
            config=dict(config),
        )
        return cls(manifest, whole, index)

    @property
    def version(self) -> str:
        """The bundle's unique version."""
        return self.manifest.version

    @property
    def config(self) -> dict[str, Any]:
        """Scalars that training chose: see `vireo.recommender.candidates.Retrieval`."""
        return self.manifest.config

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the categorical codes of the columns mean."""
        return Vocabulary.from_dict(self.manifest.vocabulary)

    @cached_property
    def columns(self) -> Columns:
        """The videos of this bundle."""
        return Columns(**{f.name: self.arrays[f"columns/{f.name}"] for f in fields(Columns)})

    def group(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays under ``prefix/``, without the prefix."""
        start = prefix + "/"
        return {n.removeprefix(start): a for n, a in self.arrays.items() if n.startswith(start)}


def write(bundle: Bundle, folder: Path) -> Manifest:
    """Write every file and, last, the manifest with their checksums. Same bundle, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for name in sorted(bundle.arrays):
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.ascontiguousarray(bundle.arrays[name]), allow_pickle=False)
        entries[f"{name}.npy"] = manifests.entry_of(path)
    if bundle.index is not None:
        faiss.write_index(bundle.index, str(folder / INDEX))
        entries[INDEX] = manifests.entry_of(folder / INDEX)
    manifest = bundle.manifest.model_copy(update={"files": entries})
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1))
    return manifest


def load(folder: Path) -> Bundle:
    """Verify every file against the manifest, then map the arrays and the index.

    What `fetch` has verified on this machine, and nobody has written to since, is not read again.

    Raises:
        BundleRefused: other schema or embedder, a file missing, changed, or of the wrong shape.
    """
    manifest = manifests.read(folder)
    manifests.verify(folder, manifest)
    arrays = {n.removesuffix(".npy"): _array(folder / n) for n in manifest.files if n != INDEX}
    _check_shapes(arrays)
    index = _index(folder / INDEX) if INDEX in manifest.files else None
    if ("vectors" in arrays) != (index is not None):
        raise BundleRefused(INDEX, "vectors and index go together")
    if index is not None and index.ntotal != len(arrays["vectors"]):
        raise BundleRefused(INDEX, "holds another number of vectors than vectors.npy")
    return Bundle(manifest, arrays, index)


def publish(bundle: Bundle, blobs: Blobs) -> Manifest:
    """Write the bundle under ``bundles/<version>/``: all files first, the manifest last.

    A crash half-way leaves files that no pointer names; publishing again overwrites them.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest = write(bundle, folder)
        for name in [*manifest.files, MANIFEST]:
            blobs.upload(str(folder / name), _blob(bundle.version, name))
    return manifest


def fetch(blobs: Blobs, version: str, scratch: Path, *, anew: bool = False) -> Bundle:
    """The bundle of that version, from the scratch folder if it is whole there, else downloaded.

    Args:
        blobs: where it was published.
        version: of the bundle.
        scratch: a folder of this machine.
        anew: download it whatever is there, which may be left of a publication that was cut short.

    Raises:
        BundleRefused: what was published is not whole.
    """
    folder = scratch / "bundles" / version
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    if folder.is_dir():
        try:
            return load(folder)
        except BundleRefused:  # half a download of a process that died, or a damaged disk
            shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder.parent))
    try:
        _download(blobs, version, partial)
        bundle = load(partial)
        manifests.remember(partial, bundle.manifest)
        try:
            partial.rename(folder)
        except OSError:  # another process was first: share the files that it has mapped
            if not folder.is_dir():
                raise
            return load(folder)
        return bundle
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def tidy(scratch: Path, keep: Collection[str]) -> None:
    """Remove what earlier fetches left in the scratch folder, but for the versions to keep.

    Who has mapped a removed file still reads it; who has not fetches it again.
    """
    for folder in (scratch / "bundles").iterdir():
        if folder.name not in keep and not folder.name.startswith(_PARTIAL):
            shutil.rmtree(folder, ignore_errors=True)


def _blob(version: str, name: str) -> str:
    return f"bundles/{version}/{name}"


def _download(blobs: Blobs, version: str, folder: Path) -> None:
    """Manifest first, as it names the rest."""
    _get(blobs, version, MANIFEST, folder / MANIFEST)
    manifest = manifests.read(folder)
    if manifest.version != version:
        raise BundleRefused(MANIFEST, f"that of {manifest.version}, expected {version}")
    for name in manifest.files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _get(blobs, version, name, path)


def _get(blobs: Blobs, version: str, name: str, path: Path) -> None:
    try:
        blobs.download(_blob(version, name), str(path))
    except Missing as error:
        raise BundleRefused(name, "missing") from error


def _array(path: Path) -> NDArray[Any]:
    mode: Literal["r"] | None = "r" if path.stat().st_size >= _MAP_FROM else None
    try:
        return np.asarray(np.load(path, mmap_mode=mode, allow_pickle=False))
    except ValueError as error:
        raise BundleRefused(path.name, f"not an array: {error}") from error


def _index(path: Path) -> Any:
    """The index, mapped too: at a million videos, reading it took half the time of loading."""
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def _check_shapes(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Every per-video array has one row per video, and what every bundle needs is there."""
    needed = [f"columns/{f.name}" for f in fields(Columns)] + ["features", "popular"]
    for name in needed:
        if name not in arrays:
            raise BundleRefused(f"{name}.npy", "missing")
    n = len(arrays["columns/keys"])
    per_video = {*needed, "vectors", "opener_score"} - {"popular"}
    for name in sorted(per_video & arrays.keys()):
        if len(arrays[name]) != n:
            raise BundleRefused(f"{name}.npy", f"{len(arrays[name])} rows, expected {n}")
    for name in ("neighbours/indptr", "successors/indptr"):
        if name in arrays and len(arrays[name]) != n + 1:
            raise BundleRefused(f"{name}.npy", "another number of videos")


__all__ = [
    "MANIFEST",
    "Bundle",
    "BundleRefused",
    "Conflict",
    "Manifest",
    "fetch",
    "load",
    "publish",
    "tidy",
    "write",
]
