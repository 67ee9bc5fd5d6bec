"""Blobs as files of a folder, written atomically."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vireo.homes.local import disk
from vireo.homes.names import checked_blob, checked_prefix
from vireo.ports import Missing, Refused, Unavailable


class LocalBlobs:
    """`vireo.ports.Blobs` of one tenant, under ``folder/<tenant>``.

    Stricter than S3 in one thing: a name cannot be both a blob and a folder of other blobs.
    """

    def __init__(self, folder: Path, tenant: str) -> None:
        self._root = folder / tenant
        #: On the same file system as the finished files, so that renaming is atomic.
        self._unfinished_in = folder / ".unfinished"

    def read(self, name: str) -> bytes:
        """See the port."""
        with _answers(name, missing=Missing):
            return self._path(name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """See the port."""
        with _answers(name), disk.replacing(self._path(name), self._unfinished()) as unfinished:
            unfinished.write_bytes(data)

    def delete(self, name: str) -> None:
        """See the port."""
        path = self._path(name)
        with _answers(name, missing=None):
            if not path.is_dir():
                disk.remove(path)

    def names(self, prefix: str = "") -> Iterator[str]:
        """See the port."""
        checked_prefix(prefix)
        start = self._root / prefix.rpartition("/")[0]
        with _answers(prefix):
            found = [
                (Path(folder) / file).relative_to(self._root).as_posix()
                for folder, _, files in os.walk(start)
                for file in files
            ]
        return iter(sorted(name for name in found if name.startswith(prefix)))

    def written(self, prefix: str = "") -> Iterator[tuple[str, float]]:
        """See the port. What is deleted meanwhile is left out."""
        for name in self.names(prefix):
            with _answers(name, missing=None):
                yield name, self._path(name).stat().st_mtime

    def download(self, name: str, path: str) -> None:
        """See the port."""
        target = Path(path)
        with (
            _answers(name, missing=Missing),
            disk.replacing(target, _beside(target.parent)) as unfinished,
        ):
            shutil.copyfile(self._path(name), unfinished)

    def upload(self, path: str, name: str) -> None:
        """See the port. Raises FileNotFoundError if the local file does not exist."""
        with _answers(name), disk.replacing(self._path(name), self._unfinished()) as unfinished:
            shutil.copyfile(path, unfinished)

    def _path(self, name: str) -> Path:
        return self._root / checked_blob(name)

    def _unfinished(self) -> Path:
        return _beside(self._unfinished_in)


def _beside(folder: Path) -> Path:
    """A name that no other writer has."""
    return folder / f".{secrets.token_hex(8)}"


@contextmanager
def _answers(name: str, missing: type[Exception] | None = FileNotFoundError) -> Iterator[None]:
    """Translation of the file system's errors to those of the port.

    ``missing`` is the exception for an absent blob; None if that is no error.
    """
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        if missing is None:
            return
        if missing is not FileNotFoundError:
            raise missing(name) from None
        if isinstance(error, FileNotFoundError):
            raise
        raise Refused(f"{name!r} is, or lies under, the name of another blob") from None
    except OSError as error:
        raise Unavailable(f"blobs: {error}") from error
