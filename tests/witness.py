"""What really goes through the ports of a home: each place that is touched, how, and by whom.

*Whom* is the module nearest to the port that is not one of `FLOOR`, which act for whoever calls.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from tests.sources import PACKAGE, ROOT
from vireo.ports import (
    Blobs,
    Cache,
    Clock,
    Delete,
    Item,
    Page,
    Ports,
    Put,
    Record,
    Records,
    Stream,
    Table,
)

#: What is shared by all domains; its modules say what a record is like, and are called to write it.
FLOOR = ("homes/", "catalogue/", "viewers/", "bundles/", "jobs/")
#: The one part of the laptop's home that does something by itself.
ACTS = "homes/local/delivery.py"
TESTS = "tests"
DAY = 86400.0


@dataclass(frozen=True)
class Touch:
    """Something that was done at a place."""

    kind: str  #: records, blobs, cache or stream
    how: str  #: written, read or deleted
    place: tuple[str, ...]  #: table, key and sort of a record; a name; a key; key and what
    by: str  #: a module's path, `TESTS` for a test itself
    days: float | None = None  #: of a record that was written with an end


@dataclass
class Witness:
    """All touches so far."""

    touches: set[Touch] = field(default_factory=set)
    looks: bool = True

    def watched(self, ports: Ports) -> Ports:
        """The same ports, seen by this witness."""
        return replace(
            ports,
            records=SeenRecords(ports.records, ports.clock, self),
            blobs=SeenBlobs(ports.blobs, self),
            cache=SeenCache(ports.cache, self),
            stream=SeenStream(ports.stream, self),
        )

    def note(self, kind: str, how: str, *place: str, days: float | None = None) -> None:
        """Whoever called the port did that."""
        if self.looks:
            self.touches.add(Touch(kind, how, place, _caller(), days))


def _caller() -> str:
    frame, floor = sys._getframe(3), ""
    while frame.f_back is not None:
        module = _module(frame.f_code.co_filename)
        if module == ACTS or (module and not _is_floor(module)):
            return TESTS if module.startswith("tests/") else module
        if module and not module.startswith("homes/"):
            floor = floor or module
        frame = frame.f_back
    return floor or "?"


@cache
def _module(filename: str) -> str:
    """Path of a module of ours: of the package without its folder; "" for any other."""
    path = Path(filename)
    if path == Path(__file__) or ".venv" in path.parts:
        return ""
    for root in (PACKAGE, ROOT):
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return ""


def _is_floor(module: str) -> bool:
    """A module of the package's root, or of its shared rooms."""
    return (PACKAGE / module).is_file() and ("/" not in module or module.startswith(FLOOR))


class SeenRecords:
    """`vireo.ports.Records`, each call noted."""

    def __init__(self, records: Records, clock: Clock, witness: Witness) -> None:
        self._records, self._clock, self._witness = records, clock, witness

    def get(self, table: Table, key: str, sort: str = "") -> Record | None:
        self._witness.note("records", "read", table, key, sort)
        return self._records.get(table, key, sort)

    def query(self, table: Table, key: str, **options: Any) -> Page:
        page = self._records.query(table, key, **options)
        for record in page.records:
            self._witness.note("records", "read", table, key, record.sort)
        return page

    def put(self, table: Table, key: str, sort: str, item: Item, **options: Any) -> int:
        self._note(Put(table, key, sort, item, **options))
        return self._records.put(table, key, sort, item, **options)

    def delete(self, table: Table, key: str, sort: str = "", **options: Any) -> None:
        self._witness.note("records", "deleted", table, key, sort)
        self._records.delete(table, key, sort, **options)

    def add(self, table: Table, key: str, sort: str, amounts: Mapping[str, int | float]) -> Item:
        self._witness.note("records", "written", table, key, sort)
        return self._records.add(table, key, sort, amounts)

    def write(self, writes: Sequence[Put | Delete]) -> None:
        for one in writes:
            self._note(one)
        self._records.write(writes)

    def _note(self, write: Put | Delete) -> None:
        place = write.table, write.key, write.sort
        if isinstance(write, Delete):
            self._witness.note("records", "deleted", *place)
        else:
            days = None if write.expires is None else (write.expires - self._clock.now()) / DAY
            self._witness.note("records", "written", *place, days=days and round(days, 2))


class SeenBlobs:
    """`vireo.ports.Blobs`, each call noted but for listings."""

    def __init__(self, blobs: Blobs, witness: Witness) -> None:
        self._blobs, self._witness = blobs, witness

    def read(self, name: str) -> bytes:
        self._witness.note("blobs", "read", name)
        return self._blobs.read(name)

    def write(self, name: str, data: bytes) -> None:
        self._witness.note("blobs", "written", name)
        self._blobs.write(name, data)

    def delete(self, name: str) -> None:
        self._witness.note("blobs", "deleted", name)
        self._blobs.delete(name)

    def names(self, prefix: str = "") -> Iterator[str]:
        return self._blobs.names(prefix)

    def written(self, prefix: str = "") -> Iterator[tuple[str, float]]:
        return self._blobs.written(prefix)

    def download(self, name: str, path: str) -> None:
        self._witness.note("blobs", "read", name)
        self._blobs.download(name, path)

    def upload(self, path: str, name: str) -> None:
        self._witness.note("blobs", "written", name)
        self._blobs.upload(path, name)


class SeenCache:
    """`vireo.ports.Cache`, each call noted; to count is to write and to read."""

    def __init__(self, kept: Cache, witness: Witness) -> None:
        self._cache, self._witness = kept, witness

    def get(self, key: str) -> bytes | None:
        self._witness.note("cache", "read", key)
        return self._cache.get(key)

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        self._witness.note("cache", "written", key)
        self._cache.put(key, value, seconds=seconds)

    def delete(self, key: str) -> None:
        self._witness.note("cache", "deleted", key)
        self._cache.delete(key)

    def add(self, key: str, amount: int = 1, *, seconds: float) -> int | None:
        self._witness.note("cache", "written", key)
        self._witness.note("cache", "read", key)
        return self._cache.add(key, amount, seconds=seconds)

    def add_all(self, amounts: Mapping[str, int], *, seconds: float) -> Mapping[str, int]:
        for key in amounts:
            self._witness.note("cache", "written", key)
            self._witness.note("cache", "read", key)
        return self._cache.add_all(amounts, seconds=seconds)


class SeenStream:
    """`vireo.ports.Stream`, each record noted with what it is: its type is an exposure's or not."""

    def __init__(self, stream: Stream, witness: Witness) -> None:
        self._stream, self._witness = stream, witness

    def publish(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        for key, payload in records:
            try:
                exposure = orjson.loads(payload)["type"] == "exposure"
            except (ValueError, LookupError, TypeError):  # what tests put there to be refused
                exposure = False
            self._witness.note("stream", "written", key, "exposure" if exposure else "event")
        return self._stream.publish(records)
