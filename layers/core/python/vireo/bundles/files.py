"""The immutable, checksummed artifact that jobs make and the request path reads.

A bundle is a manifest, named arrays and one FAISS index. It also exists in memory without a folder,
so that training can run the serving code on models that it has just fitted.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from vireo.bundles import manifest as manifests
from vireo.bundles.manifest import INDEX, MANIFEST, BundleRefused, Manifest
from vireo.ports import Blobs, Missing

#: Smallest array, in bytes, that is memory-mapped; for smaller ones reading is cheaper.
_MAP_FROM = 1 << 16
#: Prefix of the folders of unfinished downloads.
_PARTIAL = ".partial-"


B = TypeVar("B", bound="Bundle")


@dataclass(frozen=True)
class Bundle:
    """A manifest, arrays by name, and the index of ``vectors``. Every kind is a subclass."""

    manifest: Manifest
    arrays: Mapping[str, NDArray[Any]]
    index: Any  #: faiss.Index, or None without vectors

    @property
    def version(self) -> str:
        """The unique version of the bundle."""
        return self.manifest.version

    @property
    def config(self) -> dict[str, Any]:
        """Scalars chosen by the job that made the bundle."""
        return self.manifest.config

    def group(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays under ``prefix/``, without the prefix."""
        start = prefix + "/"
        return {n.removeprefix(start): a for n, a in self.arrays.items() if n.startswith(start)}

    def check(self) -> None:
        """Raise `BundleRefused` if the bundle must not serve. Subclasses add their own checks."""
        if ("vectors" in self.arrays) != (self.index is not None):
            raise BundleRefused(INDEX, "vectors and index go together")
        if self.index is not None and self.index.ntotal != len(self.arrays["vectors"]):
            raise BundleRefused(INDEX, "holds another number of vectors than vectors.npy")


def write(bundle: Bundle, folder: Path) -> Manifest:
    """Write every file and, last, the manifest with their checksums. Deterministic."""
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


def load(folder: Path, kind: type[B]) -> B:
    """Verify every file against the manifest, then map the arrays and the index.

    Files that `fetch` has verified on this machine and that have not changed since are not read
    again.

    Raises:
        BundleRefused: another schema, a missing or changed file, or a failed `Bundle.check`.
    """
    manifest = manifests.read(folder)
    manifests.verify(folder, manifest)
    arrays = {n.removesuffix(".npy"): _array(folder / n) for n in manifest.files if n != INDEX}
    index = _index(folder / INDEX) if INDEX in manifest.files else None
    bundle = kind(manifest, arrays, index)
    bundle.check()
    return bundle


def publish(bundle: Bundle, blobs: Blobs) -> Manifest:
    """Write the bundle under ``bundles/<version>/``: all files first, the manifest last.

    A crash half-way leaves files that no pointer names. Publishing again overwrites them.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifest = write(bundle, folder)
        for name in [*manifest.files, MANIFEST]:
            blobs.upload(str(folder / name), _blob(bundle.version, name))
    return manifest


def fetch(blobs: Blobs, version: str, scratch: Path, kind: type[B], *, anew: bool = False) -> B:
    """The bundle of that version, from the scratch folder if it is complete there, else downloaded.

    Args:
        blobs: the store that it was published to.
        version: of the bundle.
        scratch: a folder of this machine.
        kind: of the bundle.
        anew: ignore the scratch folder, which may hold an earlier, unfinished publication.

    Raises:
        BundleRefused: the published bundle is incomplete or damaged.
    """
    folder = scratch / "bundles" / version
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    if folder.is_dir():
        try:
            return load(folder, kind)
        except BundleRefused:  # half a download of a process that died, or a damaged disk
            shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder.parent))
    try:
        _download(blobs, version, partial)
        bundle = load(partial, kind)
        manifests.remember(partial, bundle.manifest)
        try:
            partial.rename(folder)
        except OSError:  # another process was first: share the files that it has mapped
            if not folder.is_dir():
                raise
            return load(folder, kind)
        return bundle
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def tidy(scratch: Path, keep: Collection[str]) -> None:
    """Delete all fetched bundles from the scratch folder except the versions in ``keep``.

    A process that has mapped a deleted file can still read it. Any other fetches it again.
    """
    for folder in (scratch / "bundles").iterdir():
        if folder.name not in keep and not folder.name.startswith(_PARTIAL):
            shutil.rmtree(folder, ignore_errors=True)


def _blob(version: str, name: str) -> str:
    return f"bundles/{version}/{name}"


def _download(blobs: Blobs, version: str, folder: Path) -> None:
    """Download a bundle: the manifest first, because it names the other files."""
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
    """The index, memory-mapped: at a million videos, reading it took half of the loading time."""
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
