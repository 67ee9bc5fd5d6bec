"""Records in one SQLite file, as strict as DynamoDB, so that code that works here works there."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from vireo.homes.items import (
    checked_amounts,
    checked_number,
    checked_writes,
    pack,
    stored,
    whole_second,
)
from vireo.homes.names import checked_key, sort_range
from vireo.ports import (
    Clock,
    Conflict,
    Delete,
    Item,
    Page,
    Put,
    Record,
    Refused,
    Table,
    Unavailable,
)

# Keys are blobs, so that SQLite compares them byte by byte, as DynamoDB does.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    part BLOB NOT NULL, key BLOB NOT NULL, sort BLOB NOT NULL,
    item BLOB NOT NULL, version INTEGER NOT NULL, expires INTEGER,
    PRIMARY KEY (part, key, sort)
);
CREATE INDEX IF NOT EXISTS expiring ON records (expires) WHERE expires IS NOT NULL;
"""
_ALIVE = "(expires IS NULL OR expires > :now)"


class RecordFile:
    """The file with the records of all tenants.

    There is one connection, behind a lock: a call takes tens of microseconds, and SQLite has one
    writer at a time anyway. SQLite itself isolates other processes (write-ahead log, busy timeout).
    """

    def __init__(self, path: Path, clock: Clock, *, busy_seconds: float = 5.0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._clock = clock
        self._lock = Lock()
        self._connection = sqlite3.connect(
            path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
        with self.transaction() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            # A commit survives a crash of the process; only a power cut may lose the last ones, but
            # for those before a `sync`.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
            connection.execute("DELETE FROM records WHERE expires <= ?", [clock.now()])

    def sync(self) -> None:
        """Bring all commits so far on disk."""
        journal = self._path.with_name(f"{self._path.name}-wal")
        for path in (journal, self._path):
            if path.exists():
                with path.open("rb") as file:
                    os.fsync(file.fileno())

    def open(self, tenant: str) -> LocalRecords:
        """The records of one tenant."""
        return LocalRecords(self, tenant, self._clock)

    @contextmanager
    def transaction(self, begin: str | None = None) -> Iterator[sqlite3.Connection]:
        """The connection, for one caller at a time; atomic if ``begin`` starts a transaction."""
        with self._lock:
            try:
                if begin:
                    self._connection.execute(begin)
                try:
                    yield self._connection
                    if begin:
                        self._connection.execute("COMMIT")
                except BaseException:
                    if begin and self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise Unavailable(f"records: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


class LocalRecords:
    """`vireo.ports.Records` of one tenant."""

    def __init__(self, file: RecordFile, tenant: str, clock: Clock) -> None:
        self._file = file
        self._tenant = tenant
        self._clock = clock

    def get(self, table: Table, key: str, sort: str = "") -> Record | None:
        """See the port."""
        checked_key(key, sort)
        with self._file.transaction() as connection:
            return self._read(connection, table, key, sort)

    def query(
        self,
        table: Table,
        key: str,
        *,
        prefix: str = "",
        after: str | None = None,
        before: str | None = None,
        limit: int = 1000,
        newest_first: bool = False,
    ) -> Page:
        """See the port."""
        checked_key(key, max(prefix, after or "", before or "", key=len))
        if limit < 1:
            raise Refused("a query's limit is at least 1")
        first, end = sort_range(prefix, after, before)
        statement = (
            f"SELECT sort, item, version FROM records WHERE part = :part AND key = :key"
            f" AND sort >= :first AND (:end IS NULL OR sort < :end) AND {_ALIVE}"
            f" ORDER BY sort {'DESC' if newest_first else 'ASC'} LIMIT :limit"
        )
        arguments = self._arguments(table, key) | {
            "first": first.encode(),
            "end": None if end is None else end.encode(),
            "limit": limit + 1,
        }
        with self._file.transaction() as connection:
            rows = connection.execute(statement, arguments).fetchall()
        records = [Record(key, sort.decode(), stored(i), v) for sort, i, v in rows[:limit]]
        return Page(records, records[-1].sort if len(rows) > limit else None)

    def put(
        self,
        table: Table,
        key: str,
        sort: str,
        item: Item,
        *,
        expect: int | None = None,
        expires: float | None = None,
    ) -> int:
        """See the port."""
        checked_key(key, sort)
        packed = pack(item)
        with self._file.transaction("BEGIN IMMEDIATE") as connection:
            return self._put(connection, Put(table, key, sort, item, expect, expires), packed)

    def delete(self, table: Table, key: str, sort: str = "", *, expect: int | None = None) -> None:
        """See the port."""
        checked_key(key, sort)
        with self._file.transaction("BEGIN IMMEDIATE") as connection:
            self._delete(connection, Delete(table, key, sort, expect))

    def add(self, table: Table, key: str, sort: str, amounts: Mapping[str, int | float]) -> Item:
        """See the port."""
        checked_key(key, sort)
        checked = checked_amounts(amounts)
        with self._file.transaction("BEGIN IMMEDIATE") as connection:
            before = self._read(connection, table, key, sort)
            item = dict(before.item) if before else {}
            for name, amount in checked.items():
                item[name] = checked_number(name, item.get(name, 0)) + amount
            arguments = self._arguments(table, key, sort) | {"item": pack(item)}
            if before is None:
                self._insert(connection, arguments, 1, None)
            else:
                connection.execute(
                    "UPDATE records SET item = :item, version = version + 1"
                    " WHERE part = :part AND key = :key AND sort = :sort",
                    arguments,
                )
            return item

    def write(self, writes: Sequence[Put | Delete]) -> None:
        """See the port."""
        packed = checked_writes(writes)
        with self._file.transaction("BEGIN IMMEDIATE") as connection:
            for write in writes:
                if isinstance(write, Put):
                    at = (write.table.value, write.key, write.sort)
                    self._put(connection, write, packed[at])
                else:
                    self._delete(connection, write)

    def _arguments(self, table: Table, key: str, sort: str = "") -> dict[str, object]:
        return {
            "part": f"{self._tenant}#{table.value}".encode(),
            "key": key.encode(),
            "sort": sort.encode(),
            "now": self._clock.now(),
        }

    def _read(
        self, connection: sqlite3.Connection, table: Table, key: str, sort: str
    ) -> Record | None:
        row = connection.execute(
            "SELECT item, version FROM records"
            f" WHERE part = :part AND key = :key AND sort = :sort AND {_ALIVE}",
            self._arguments(table, key, sort),
        ).fetchone()
        return None if row is None else Record(key, sort, stored(row[0]), row[1])

    def _version(self, connection: sqlite3.Connection, write: Put | Delete) -> int:
        """The stored version (0: none). Raises `Conflict` if another is expected."""
        row = connection.execute(
            "SELECT version FROM records"
            f" WHERE part = :part AND key = :key AND sort = :sort AND {_ALIVE}",
            self._arguments(write.table, write.key, write.sort),
        ).fetchone()
        version = int(row[0]) if row else 0
        if write.expect is not None and write.expect != version:
            raise Conflict(
                f"{write.table} {write.key!r} {write.sort!r}: expected version {write.expect}"
            )
        return version

    def _put(self, connection: sqlite3.Connection, write: Put, packed: bytes) -> int:
        version = self._version(connection, write) + 1
        arguments = self._arguments(write.table, write.key, write.sort) | {"item": packed}
        self._insert(connection, arguments, version, whole_second(write.expires))
        return version

    def _delete(self, connection: sqlite3.Connection, write: Delete) -> None:
        self._version(connection, write)
        connection.execute(
            "DELETE FROM records WHERE part = :part AND key = :key AND sort = :sort",
            self._arguments(write.table, write.key, write.sort),
        )

    @staticmethod
    def _insert(
        connection: sqlite3.Connection,
        arguments: dict[str, object],
        version: int,
        expires: int | None,
    ) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO records (part, key, sort, item, version, expires)"
            " VALUES (:part, :key, :sort, :item, :version, :expires)",
            arguments | {"version": version, "expires": expires},
        )
