"""The manifest of a bundle: the checksum of every file, verified before anything is served."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

#: Incremented when the meaning of a file changes; bundles of another schema are refused.
SCHEMA = 1
MANIFEST = "manifest.json"
INDEX = "index.faiss"
#: Names the verified files of a fetched bundle, each with its state at that time.
_VERIFIED = ".verified.json"


class BundleRefused(Exception):
    """A bundle must not serve; names the file and the reason."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


class FileEntry(BaseModel):
    """The expected checksum and size of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    bytes: int


class Manifest(BaseModel):
    """The description of a bundle, with the expected checksum of every file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA
    version: str
    created_at: float  #: unix seconds
    watermark: float  #: unix seconds; the bundle includes catalogue changes up to then
    embedder_id: str | None = None  #: of its text vectors; checked by the kind of bundle
    vocabulary: dict[str, list[str]]
    config: dict[str, Any]
    files: dict[str, FileEntry] = {}


def read(folder: Path) -> Manifest:
    """The manifest in a bundle's folder. Raises `BundleRefused` if it is missing or invalid."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleRefused(MANIFEST, "missing")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleRefused(MANIFEST, f"not a manifest ({error.error_count()} errors)") from error
    if manifest.schema_version != SCHEMA:
        raise BundleRefused(MANIFEST, f"schema {manifest.schema_version}, expected {SCHEMA}")
    for name in manifest.files:
        if name.startswith("/") or ".." in Path(name).parts:
            raise BundleRefused(name, "leaves the bundle's folder")
        if name != INDEX and not name.endswith(".npy"):
            raise BundleRefused(name, "neither an array nor the index")
    return manifest


def entry_of(path: Path) -> FileEntry:
    """The checksum and size of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(sha256=digest, bytes=path.stat().st_size)


def verify(folder: Path, manifest: Manifest) -> None:
    """Hash every file that is not recorded by `remember`, or has changed since.

    Raises:
        BundleRefused: a file is missing, or differs from its entry in the manifest.
    """
    noted = _noted(folder)
    for name, entry in manifest.files.items():
        if not (folder / name).is_file():
            raise BundleRefused(name, "missing")
        if noted.get(name) != _state(folder / name, entry):
            check(folder / name, name, entry)


def check(path: Path, name: str, entry: FileEntry) -> None:
    """Raise `BundleRefused` unless the file has the size and checksum of ``entry``."""
    if path.stat().st_size != entry.bytes:
        raise BundleRefused(name, f"{path.stat().st_size} bytes, expected {entry.bytes}")
    if entry_of(path).sha256 != entry.sha256:
        raise BundleRefused(name, "checksum differs")


def remember(folder: Path, manifest: Manifest) -> None:
    """Record that all files have just been verified."""
    states = {name: _state(folder / name, entry) for name, entry in manifest.files.items()}
    (folder / _VERIFIED).write_bytes(orjson.dumps(states))


def _state(path: Path, entry: FileEntry) -> list[Any]:
    """The verified checksum of a file and its change time (ctime).

    Unlike the time of modification, a program cannot set the change time.
    """
    return [entry.sha256, path.stat().st_ctime_ns]


def _noted(folder: Path) -> dict[str, Any]:
    """The record that `remember` wrote; empty if it is absent or unreadable."""
    path = folder / _VERIFIED
    try:
        return dict(orjson.loads(path.read_bytes())) if path.is_file() else {}
    except (TypeError, ValueError):
        return {}
