"""The stream as append-only files, one per shard: ordered within a key, and only there."""

from __future__ import annotations

import base64
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import BinaryIO

import orjson

from vireo.homes.limits import refusals
from vireo.homes.local import disk
from vireo.ports import Clock

log = logging.getLogger(__name__)

_TRIMMED = "trimmed"
_HEADER = b'{"trimmed":'
#: In place of a tenant's name, which it cannot be, for a line that cannot be read: whoever follows
#: the log treats it as any record of no tenant, which is a dead letter of the system.
UNREADABLE = "unreadable line"


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """A record as a reader of the log sees it."""

    tenant: str
    key: str
    payload: bytes
    arrived: float  #: unix seconds
    sequence: int  #: where reading continues: larger than any before it in the shard


class StreamLog:
    """The shards of all tenants' streams.

    A record is a line. Lines are appended whole under a lock, so processes may share the folder,
    and are on disk before they are accepted. An incomplete line of a killed process is cut off by
    the next append; a complete one that cannot be read is a record of no tenant.

    A record's number is that of the first line, and the bytes from there to the record's end.
    Trimming adds what it removes to the first number. A new log begins at the moment in
    microseconds, so that its numbers are larger than those of one that was lost, as long as no
    shard takes more than 1 MB/s for all its life: who follows a log takes what has a number that is
    behind them for a repeat.
    """

    def __init__(self, folder: Path, clock: Clock, *, shards: int = 2) -> None:
        disk.make_folder(folder)
        self._clock = clock
        self._paths = [folder / f"shard-{j:04d}.log" for j in range(shards)]
        for path in self._paths:
            disk.make_file(path)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self._paths)

    def open(self, tenant: str) -> LocalStream:
        """The stream of one tenant."""
        return LocalStream(self, tenant)

    def append(self, tenant: str, records: Sequence[tuple[str, bytes]]) -> None:
        """Append records to their shards. Raises OSError."""
        lines: dict[int, list[bytes]] = {}
        for key, payload in records:
            line = {
                "tenant": tenant,
                "key": key,
                "arrived": self._clock.now(),
                "payload": base64.b64encode(payload).decode(),
            }
            lines.setdefault(self._shard(f"{tenant}#{key}"), []).append(orjson.dumps(line) + b"\n")
        for shard, its_lines in sorted(lines.items()):
            _append(self._paths[shard], b"".join(its_lines), self._first())

    def read(self, shard: int, after: int = 0, limit: int = 1000) -> Sequence[StreamRecord]:
        """Up to ``limit`` records of a shard after the sequence number ``after``.

        A number that the shard does not reach is of a log that is no more: reading begins anew.
        """
        records: list[StreamRecord] = []
        with self._paths[shard].open("rb") as file:
            trimmed, header = _trimmed(file)
            size = os.fstat(file.fileno()).st_size - header + trimmed
            after = max(after if after <= size else 0, trimmed)
            file.seek(after - trimmed + header)
            while len(records) < limit and (line := file.readline()).endswith(b"\n"):
                after += len(line)
                records.append(_record(line, after))
        return records

    def size(self, shard: int) -> int:
        """The largest sequence number of a shard; 0 if nothing was ever appended."""
        return self._ends(shard)[1]

    def begin(self, shard: int) -> int:
        """The sequence number after which a shard's records begin."""
        return self._ends(shard)[0]

    def renumber(self, shard: int) -> None:
        """Give all records of a shard numbers that none had before.

        For a log of which some is lost: what comes next must not be taken for what was there.
        """
        with _locked(self._paths[shard]):
            begin, end = self._ends(shard)
            self._rewrite(shard, begin, max(self._first(), end))

    def _first(self) -> int:
        """The number before the first record of a log that begins now."""
        return int(self._clock.now() * 1e6)

    def _ends(self, shard: int) -> tuple[int, int]:
        with self._paths[shard].open("rb") as file:
            trimmed, header = _trimmed(file)
            return trimmed, os.fstat(file.fileno()).st_size - header + trimmed

    def _rewrite(self, shard: int, after: int, number: int) -> None:
        """Keep what is after a sequence number only, which becomes ``number``; in a lock."""
        path = self._paths[shard]
        with (
            disk.replacing(path, path.with_suffix(".trimmed")) as unfinished,
            path.open("rb") as old,
            unfinished.open("wb") as new,
        ):
            trimmed, header = _trimmed(old)
            old.seek(after - trimmed + header)
            new.write(_header(number))
            shutil.copyfileobj(old, new)

    def trim(self, shard: int, *, before: float, until: int) -> int:
        """Remove records that arrived before a moment, up to the sequence number ``until``.

        Returns their number. A crash meanwhile leaves the shard unchanged.
        """
        with _locked(self._paths[shard]):
            end, gone = 0, 0
            for record in self._records(shard):
                if record.arrived >= before or record.sequence > until:
                    break
                end, gone = record.sequence, gone + 1
            if gone:
                self._rewrite(shard, end, end)
            return gone

    def _records(self, shard: int) -> Iterator[StreamRecord]:
        after = 0
        while records := self.read(shard, after):
            yield from records
            after = records[-1].sequence

    def _shard(self, partition: str) -> int:
        """The shard of a partition key, by its MD5 as in Kinesis."""
        digest = md5(partition.encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest[:8], "big") * len(self._paths) >> 64


class LocalStream:
    """`vireo.ports.Stream` of one tenant."""

    def __init__(self, log: StreamLog, tenant: str) -> None:
        self._log = log
        self._tenant = tenant

    def publish(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        """See the port."""
        reasons = refusals(records)
        taken = [r for r, reason in zip(records, reasons, strict=True) if reason is None]
        try:
            self._log.append(self._tenant, taken)
        except OSError as error:
            return [reason or f"stream: {error}" for reason in reasons]
        return reasons


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """A lock between processes, in a file of its own because the shard's file is replaced."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _record(line: bytes, sequence: int) -> StreamRecord:
    try:
        fields = orjson.loads(line)
        payload = base64.b64decode(fields["payload"], validate=True)
        tenant, key, arrived = str(fields["tenant"]), str(fields["key"]), float(fields["arrived"])
    except (ValueError, KeyError, TypeError):
        log.warning("a line of the stream cannot be read; it ends at %d", sequence)
        return StreamRecord(UNREADABLE, "", line, 0.0, sequence)
    return StreamRecord(tenant, key, payload, arrived, sequence)


def _header(number: int) -> bytes:
    """The line that states the number before the first record."""
    return orjson.dumps({_TRIMMED: number}) + b"\n"


def _trimmed(file: BinaryIO) -> tuple[int, int]:
    """Number before the first record, and length of the line that states it."""
    line = file.readline()
    if not line.startswith(_HEADER):
        return 0, 0
    try:
        return int(orjson.loads(line)[_TRIMMED]), len(line)
    except (ValueError, TypeError):  # it is a line that cannot be read, as any other
        return 0, 0


def _append(path: Path, data: bytes, first: int) -> None:
    """Append lines; ``first`` is the number before the first record of an empty file."""
    with _locked(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            end = _whole(file)
            os.ftruncate(file, end)
            data = data if end else _header(first) + data
            written = 0
            while written < len(data):
                written += os.pwrite(file, data[written:], end + written)
            os.fsync(file)
        finally:
            os.close(file)
        if not end:  # its name may be as new as its first line
            disk.sync(path.parent)


def _whole(file: int) -> int:
    """The position after the last complete line."""
    end = os.fstat(file).st_size
    while end and os.pread(file, 1, end - 1) != b"\n":
        start = max(end - 65536, 0)
        end = start + os.pread(file, end - start, start).rfind(b"\n") + 1
        if end > start:
            break
    return end
