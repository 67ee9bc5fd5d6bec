"""What the files of a bundle must be, and whether they are: nothing else may be served."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

#: Raised when the meaning of a file changes; a process refuses bundles of another schema.
SCHEMA = 1
MANIFEST = "manifest.json"
INDEX = "index.faiss"
#: Which files of a fetched bundle were verified, and their state then.
_VERIFIED = ".verified.json"


class BundleRefused(Exception):
    """A bundle that must not serve: which file, and why."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


class FileEntry(BaseModel):
    """What a file must be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    bytes: int


class Manifest(BaseModel):
    """What a bundle is, and what every one of its files must hash to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA
    version: str
    created_at: float  #: unix seconds
    watermark: float  #: catalogue changes up to this moment (unix seconds) are in the bundle
    embedder_id: str | None = None  #: of its vectors of texts; whose kind of bundle it is checks
    vocabulary: dict[str, list[str]]
    config: dict[str, Any]
    files: dict[str, FileEntry] = {}


def read(folder: Path) -> Manifest:
    """The manifest of a bundle's folder. Raises `BundleRefused` for what no bundle may have."""
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
    """What a file is."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(sha256=digest, bytes=path.stat().st_size)


def verify(folder: Path, manifest: Manifest) -> None:
    """Hash every file that `remember` has not noted, or that somebody has written to since.

    Raises:
        BundleRefused: a file is missing, or not what the manifest says.
    """
    noted = _noted(folder)
    for name, entry in manifest.files.items():
        if not (folder / name).is_file():
            raise BundleRefused(name, "missing")
        if noted.get(name) != _state(folder / name, entry):
            check(folder / name, name, entry)


def check(path: Path, name: str, entry: FileEntry) -> None:
    """Raise `BundleRefused` unless the file is, byte for byte, what it must be."""
    if path.stat().st_size != entry.bytes:
        raise BundleRefused(name, f"{path.stat().st_size} bytes, expected {entry.bytes}")
    if entry_of(path).sha256 != entry.sha256:
        raise BundleRefused(name, "checksum differs")


def remember(folder: Path, manifest: Manifest) -> None:
    """Note that all files have just been verified."""
    states = {name: _state(folder / name, entry) for name, entry in manifest.files.items()}
    (folder / _VERIFIED).write_bytes(orjson.dumps(states))


def _state(path: Path, entry: FileEntry) -> list[Any]:
    """What a file was verified to be, and when it was last written to.

    That is its change time, which a program cannot set as it can the time of modification.
    """
    return [entry.sha256, path.stat().st_ctime_ns]


def _noted(folder: Path) -> dict[str, Any]:
    """What `remember` noted; nothing where it did not, or where the note cannot be read."""
    path = folder / _VERIFIED
    try:
        return dict(orjson.loads(path.read_bytes())) if path.is_file() else {}
    except (TypeError, ValueError):
        return {}
