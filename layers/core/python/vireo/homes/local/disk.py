"""Files and folders that are there, whole, even after the power fails.

A file is on disk when it is synced, but its name is when its folder is: a file that was made,
renamed or removed without that may be gone, old or back again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Unusable(Exception):
    """A file that cannot be used as it is; the message names it, and says what helps."""


def sync(path: Path) -> None:
    """Bring a file's bytes on disk, or the names in a folder."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it that are missing; one that is there stays as it is.

    Args:
        path: the folder.
        mode: of the folder itself, if it is made.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode, exist_ok=True)
    sync(path.parent)


def make_file(path: Path) -> None:
    """Make an empty file that only its owner may read, unless it is there."""
    if not path.exists():
        path.touch(0o600)
        sync(path.parent)


@contextmanager
def replacing(path: Path, unfinished: Path) -> Iterator[Path]:
    """The file to write, on the same file system, which then replaces ``path`` at once.

    Whatever fails or dies meanwhile, ``path`` is as it was.
    """
    for folder in (path.parent, unfinished.parent):
        make_folder(folder)
    try:
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        yield unfinished
        sync(unfinished)
        unfinished.replace(path)
        sync(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file for good. Raises FileNotFoundError if there is none."""
    path.unlink()
    sync(path.parent)
