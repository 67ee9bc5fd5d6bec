"""The export of a tenant into a folder: documented JSON lines, and files as they were collected.

A file is written beside its place and then moved there, so one that is there is complete: an export
that was interrupted goes on where it was. docs/operations.md says what is in each file.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from vireo.catalogue.counters import BUCKET
from vireo.identity import clients
from vireo.jobs.progress import Progress, silent
from vireo.keys import Keys, key_of
from vireo.letters import LETTERS
from vireo.ports import Missing, Record, Table, walk
from vireo.recommender import export
from vireo.tenancy.whole import Whole
from vireo.viewers import kept

log = logging.getLogger(__name__)

#: Files of viewers, each of which is begun anew when it was interrupted.
PARTS = 16
#: Folders of the tenant's blobs that are copied.
COPIED = ("events/", LETTERS)
MANIFEST = "manifest.json"
WITHOUT = (
    "changes of the catalogue, hot counters: they follow from the catalogue and the events",
    "runs of training and bundles: training makes them anew; registry.jsonl says which served",
    "counts of campaigns in the cache, records on the stream that are not in files yet",
)


def whole(home: Whole, tenant: str, folder: Path, progress: Progress = silent) -> dict[str, Any]:
    """Write everything that a tenant has, and return the manifest, which is written last.

    Raises:
        FileExistsError: the folder has another tenant's export.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _claim(folder, tenant)
    work = _Work(home, tenant, folder, progress)
    begun = work.ports.clock.now()
    work.lines("catalogue.jsonl", map(_video, work.rows(Table.VIDEOS)))
    names = _names(folder / "catalogue.jsonl")
    for part in range(PARTS):
        work.lines(f"viewers/{part:02d}.jsonl", work.viewers(part, names))
    for table in (Table.SETTINGS, Table.REGISTRY):
        work.lines(f"{table}.jsonl", map(_plain, work.rows(table)))
    for prefix in COPIED:
        work.copy(prefix)
    manifest = {
        "tenant": tenant,
        "exported_at": datetime.fromtimestamp(begun, UTC).isoformat(),
        "clients": clients(home, tenant),
        "files": _counts(folder),
        "without": WITHOUT,
    }
    _write(folder / MANIFEST, [orjson.dumps(manifest, option=orjson.OPT_INDENT_2)])
    return manifest


class _Work:
    """The files of an export, those that are there left as they are."""

    def __init__(self, home: Whole, tenant: str, folder: Path, progress: Progress) -> None:
        self.ports = home.open(tenant)
        self._home, self._tenant = home, tenant
        self._folder, self._progress = folder, progress

    def lines(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """A file of rows. They are not read if it is there."""
        path = self._folder / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            _write(path, self._told(rows, name))

    def rows(self, table: Table) -> Iterator[Record]:
        """All records of a table, but for expired ones."""
        for key in self._keys(table):
            yield from walk(self.ports.records, table, key)

    def viewers(self, part: int, names: export.Names) -> Iterator[Mapping[str, Any]]:
        """The content of the rows of each viewer of a part, in the form of the API."""
        period = int(self.ports.clock.now() // BUCKET)
        for user_id in self._keys(Table.VIEWERS, part, PARTS):
            stored = kept.read(self.ports.records, user_id, period)
            if stored.rows:
                yield export.viewer(user_id, stored, names).model_dump(mode="json")

    def copy(self, prefix: str) -> None:
        """Blobs as they are, by name."""
        names = list(self.ports.blobs.names(prefix))
        for done, name in enumerate(names):
            self._progress(done / len(names), f"{prefix}: {done:,} of {len(names):,}")
            path = self._folder / name
            if not path.exists():
                try:
                    self.ports.blobs.download(name, str(path))
                except Missing:  # rewritten without somebody, sent again, or too old
                    log.info("%s is gone since it was listed", name)

    def _keys(self, table: Table, part: int = 0, parts: int = 1) -> Iterator[str]:
        places = self._home.places(self._tenant, table, part, parts)
        return (key for key, _ in groupby(places, key=lambda place: place[0]))

    def _told(self, rows: Iterable[Mapping[str, Any]], name: str) -> Iterator[bytes]:
        for done, row in enumerate(rows, 1):
            if done % 1000 == 0:
                self._progress(None, f"{name}: {done:,}")
            yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _claim(folder: Path, tenant: str) -> None:
    path = folder / "tenant"
    if path.exists():
        if path.read_text() != tenant:
            raise FileExistsError(f"{folder} has an export of {path.read_text()}")
    elif any(folder.iterdir()):
        raise FileExistsError(f"{folder} has files that are no export of {tenant}")
    else:
        path.write_text(tenant)


def _video(row: Record) -> Mapping[str, Any]:
    return {"video_id": row.sort, **row.item}  # also of an item that cannot be read


def _names(catalogue: Path) -> export.Names:
    with catalogue.open("rb") as file:
        ids = [str(orjson.loads(line)["video_id"]) for line in file]
    known = {key_of(video_id): video_id for video_id in ids}

    def names(keys: Keys) -> list[str | None]:
        return [known.get(key) for key in keys.tolist()]

    return names


def _plain(row: Record) -> Mapping[str, Any]:
    return {"key": row.key, "sort": row.sort, "item": _readable(row.item)}


def _readable(value: Any) -> Any:
    """The value with bytes as ``{"base64": …}``."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {name: _readable(one) for name, one in value.items()}
    return [_readable(one) for one in value] if isinstance(value, list) else value


def _write(path: Path, parts: Iterable[bytes]) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    with unfinished.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _counts(folder: Path) -> dict[str, int]:
    """Lines of files of lines, and the number of copied files, by name."""
    counts = {}
    for path in sorted(folder.rglob("*.jsonl")):
        with path.open("rb") as file:
            counts[path.relative_to(folder).as_posix()] = sum(1 for _ in file)
    for prefix in COPIED:
        found = (p for p in (folder / prefix).rglob("*") if p.is_file())
        counts[prefix] = sum(1 for _ in found)
    return counts
