"""What the domain needs from the world: a few small protocols, and the errors they share.

A *home* (``vireo.homes.aws``, ``vireo.homes.local``) opens all of them together for one tenant, so
that no key, blob, cache entry or stream of another tenant can even be named. Every port has one
contract suite in ``tests/contract`` that both homes pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

#: What a record holds: None, bool, int, float, str, bytes, and lists and str-keyed dicts of them.
Item = dict[str, Any]


class Conflict(Exception):
    """A conditional write found another version than the one it expected. Nothing was written."""


class Unavailable(Exception):
    """The store did not answer, or not within its time limit. The caller may degrade or retry."""


class Refused(ValueError):
    """The call breaks a limit of the store (size, count, missing key). It will never succeed."""


class Withdrawn(Exception):
    """A release failed, or was rolled back; what served before serves on."""


class Missing(LookupError):
    """A blob, stream or execution of that name does not exist."""


class Table(StrEnum):
    """Every table there is. A record lives at (table, key, sort)."""

    VIDEOS = "videos"  #: the catalogue, sharded for listing
    VIEWERS = "viewers"  #: up to three packed rows per viewer (vireo.viewers.rows)
    OVERLAY = "overlay"  #: what changed since the last bundle, in order of time
    REGISTRY = "registry"  #: models, the serving pointer, clients and their tenants
    SETTINGS = "settings"  #: campaigns, experiments and switches that change without a deploy


@dataclass(frozen=True, slots=True)
class Record:
    """An item with the version that a conditional write compares (1 when first written)."""

    key: str
    sort: str
    item: Item
    version: int


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a query's answer; ``after`` is the sort key to go on from, None at the end."""

    records: Sequence[Record]
    after: str | None


@dataclass(frozen=True, slots=True)
class Put:
    """Write ``item``; ``expect`` is the version that must be there: 0 for none, None for any.

    What has expired is not there. ``expires`` is rounded up to a whole second.
    """

    table: Table
    key: str
    sort: str
    item: Item
    expect: int | None = None
    expires: float | None = None  #: unix seconds; gone from reads after it


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a record, if it is at version ``expect`` (None: whatever is there, or nothing)."""

    table: Table
    key: str
    sort: str
    expect: int | None = None


class Records(Protocol):
    """Records by key, as DynamoDB has them: ≤ 400 KB each, read by key, written atomically."""

    def get(self, table: Table, key: str, sort: str = "") -> Record | None:
        """One record, strongly consistent; None when there is none (or it has expired)."""
        ...

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
        """Records of one key in order of sort: ``after`` < sort < ``before``, starting ``prefix``.

        With ``newest_first`` the order is descending and ``Page.after`` continues as ``before``.
        """
        ...

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
        """Write one record and return its new version. Raises `Conflict` when ``expect`` fails."""
        ...

    def delete(self, table: Table, key: str, sort: str = "", *, expect: int | None = None) -> None:
        """Remove one record. Removing what is not there is no error unless ``expect`` is given."""
        ...

    def add(self, table: Table, key: str, sort: str, amounts: Mapping[str, int | float]) -> Item:
        """Add to numeric fields atomically (absent counts as 0) and return the whole new item.

        A record that is not there is made, without an end. A field that is an int stays one as long
        as only ints are added. Raises `Refused` for a field that is no number.
        """
        ...

    def write(self, writes: Sequence[Put | Delete]) -> None:
        """All or none, at most 100 writes, no key twice. Raises `Conflict` and writes nothing."""
        ...


def walk(records: Records, table: Table, key: str, *, after: str | None = None) -> Iterator[Record]:
    """All records of a key in order of sort, page by page."""
    while True:
        page = records.query(table, key, after=after)
        yield from page.records
        if page.after is None:
            return
        after = page.after


class Blobs(Protocol):
    """Immutable-by-habit files under ``/``-separated names."""

    def read(self, name: str) -> bytes:
        """The whole blob. Raises `Missing`."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write whole or not at all; a reader never sees half a blob."""
        ...

    def delete(self, name: str) -> None:
        """Remove; removing what is not there is no error."""
        ...

    def names(self, prefix: str = "") -> Iterator[str]:
        """Names that start with ``prefix``, sorted."""
        ...

    def download(self, name: str, path: str) -> None:
        """Copy a blob to a local file (for memory-mapping). Raises `Missing`."""
        ...

    def upload(self, path: str, name: str) -> None:
        """Copy a local file to a blob."""
        ...


class Cache(Protocol):
    """A place to forget things. No method raises: a broken cache is a miss, and a metric."""

    def get(self, key: str) -> bytes | None:
        """The value, or None when it is absent, expired or the cache cannot be reached."""
        ...

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """Keep a value for that long, at most."""
        ...

    def delete(self, key: str) -> None:
        """Forget a key."""
        ...

    def add(self, key: str, amount: int = 1, *, seconds: float) -> int | None:
        """Count atomically; the count, or None when the cache cannot be reached."""
        ...


class Stream(Protocol):
    """An ordered log per key, as Kinesis is: at least once, in order within one key."""

    def publish(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        """Append (key, payload) pairs; per record None, or why it was not taken. At most 500.

        A key has 1–200 characters, a payload 1 byte to just under 1 MB. An unreachable stream takes
        no record, and says so for each.
        """
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record of a stream as a consumer gets it."""

    key: str
    payload: bytes
    shard: str
    position: int  #: grows within a key, whatever becomes of the shards
    arrived: float  #: unix seconds


@dataclass(frozen=True, slots=True)
class Execution:
    """How one run of a state machine stands."""

    name: str
    status: str  #: RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED
    output: Mapping[str, Any] | None = None
    error: str | None = None
    cause: str | None = None


class Executions(Protocol):
    """State machines by name: ``training``, later ``discovery``."""

    def start(self, machine: str, name: str, document: Mapping[str, Any]) -> str:
        """Start one under a unique name (``[A-Za-z0-9_-]{1,47}``) and return the name.

        The document, plain JSON of at most 256 KB, is handed on with ``tenant`` in it. Raises
        `Conflict` if the name was taken, unless by the same document and that still runs: starting
        again after a lost answer does no harm. Raises `Missing` for an unknown machine.
        """
        ...

    def describe(self, machine: str, name: str) -> Execution:
        """How it stands. Raises `Missing`."""
        ...


class Releases(Protocol):
    """How a published bundle comes to serve; see docs/decisions/0013-bundles-in-snapshots.md."""

    def begin(self, version: str) -> str | None:
        """Start to release a bundle, and name the release; None when it serves already.

        Beginning again after a lost answer does no harm. Raises `Withdrawn` when no process can
        load it.
        """
        ...

    def finished(self, release: str) -> bool:
        """Whether every request is served by it; False while requests are being shifted.

        Raises `Withdrawn` when it was rolled back.
        """
        ...


class AtOnce:
    """`Releases` where every process follows the pointer: what it names serves within seconds."""

    def begin(self, version: str) -> None:
        """It serves already."""

    def finished(self, release: str) -> bool:
        """True."""
        return True


class Clock(Protocol):
    """The time, so that a test can move it."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow, for durations and time limits."""
        ...


class Meter(Protocol):
    """Metrics. Names are those that the dashboard uses."""

    def count(self, name: str, value: float = 1, **dimensions: str) -> None:
        """Add to a counter."""
        ...

    def observe(self, name: str, value: float, unit: str, **dimensions: str) -> None:
        """Record one measurement; unit as CloudWatch spells it, e.g. ``Milliseconds``."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """All ports of one home, opened for one tenant."""

    records: Records
    blobs: Blobs
    cache: Cache
    stream: Stream
    executions: Executions
    clock: Clock
    meter: Meter
    #: A writable folder on this machine for memory-mapped bundles (``/tmp`` in Lambda).
    scratch: str = field(default="/tmp")
    releases: Releases = field(default_factory=AtOnce)
    #: The bundle that this process is made for; None: it follows the pointer.
    serves: str | None = None


class Home(Protocol):
    """Where the code lives: AWS or a laptop. Nothing but handlers and scripts knows which."""

    def open(self, tenant: str) -> Ports:
        """The ports of one tenant: every key, blob, cache entry and stream key belongs to it."""
        ...
