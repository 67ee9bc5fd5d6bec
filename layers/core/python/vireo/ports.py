"""The domain's interfaces to the world: a few small protocols and their common exceptions.

A *home* (``vireo.homes.aws``, ``vireo.homes.local``) opens all of them together for one tenant, so
that no key, blob, cache entry or stream of another tenant can even be named. Every port has one
contract suite in ``tests/contract`` that both homes pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

#: The content of a record: None, bool, int, float, str, bytes, and lists and dicts of them.
Item = dict[str, Any]


class Conflict(Exception):
    """A conditional write found another version than the expected one, and wrote nothing."""


class Unavailable(Exception):
    """The store did not answer within its time limit. The caller may retry, or do without."""


class Refused(ValueError):
    """The call breaks a limit of the store (size, count, missing key). It can never succeed."""


class Withdrawn(Exception):
    """A release failed or was rolled back; the bundle before it still serves."""


class Missing(LookupError):
    """There is no blob, stream or execution of that name."""


class Table(StrEnum):
    """The tables. A record is addressed by table, key and sort key."""

    VIDEOS = "videos"  #: the catalogue, sharded for listing
    VIEWERS = "viewers"  #: up to three packed rows per viewer (vireo.viewers.rows)
    OVERLAY = "overlay"  #: changes of the catalogue and recent counts, by time
    REGISTRY = "registry"  #: models, the serving pointer, clients and their tenants
    SETTINGS = "settings"  #: campaigns, experiments and switches that change without a deploy


#: The only field of an item that cannot be read: why not.
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Record:
    """A stored item, and the version that a conditional write compares (1 when first written).

    An item that cannot be read has the one field `UNREADABLE`.
    """

    key: str
    sort: str
    item: Item
    version: int


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a query's result; ``after`` is the sort key to continue from, None at the end."""

    records: Sequence[Record]
    after: str | None


@dataclass(frozen=True, slots=True)
class Put:
    """A write of ``item``; ``expect`` is the version to be replaced: 0 for none, None for any.

    An expired record counts as absent. ``expires`` is rounded up to a whole second.
    """

    table: Table
    key: str
    sort: str
    item: Item
    expect: int | None = None
    expires: float | None = None  #: unix seconds; gone from reads after it


@dataclass(frozen=True, slots=True)
class Delete:
    """The removal of a record, if it is at version ``expect`` (None: at any version, or absent)."""

    table: Table
    key: str
    sort: str
    expect: int | None = None


class Records(Protocol):
    """A key-value store as DynamoDB is: items of ≤ 400 KB, read by key, written atomically."""

    def get(self, table: Table, key: str, sort: str = "") -> Record | None:
        """One record, by a strongly consistent read; None if it is absent or expired."""
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
        """Records of one key by sort key: ``after`` < sort < ``before``, beginning with ``prefix``.

        With ``newest_first`` the order is descending, and ``Page.after`` is the next ``before``.
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
        """Remove one record. An absent record is an error only if ``expect`` is given."""
        ...

    def add(self, table: Table, key: str, sort: str, amounts: Mapping[str, int | float]) -> Item:
        """Add to numeric fields atomically (an absent field counts as 0), and return the new item.

        An absent record is created, without expiry. An int field stays an int as long as only ints
        are added to it. Raises `Refused` for a field that is not a number.
        """
        ...

    def write(self, writes: Sequence[Put | Delete]) -> None:
        """Write atomically, at most 100 writes, no key twice. On `Conflict` nothing is written."""
        ...


def walk(records: Records, table: Table, key: str, *, after: str | None = None) -> Iterator[Record]:
    """All records of a key in order of sort key, page by page."""
    while True:
        page = records.query(table, key, after=after)
        yield from page.records
        if page.after is None:
            return
        after = page.after


class Blobs(Protocol):
    """Files under ``/``-separated names. By convention they are not changed once written."""

    def read(self, name: str) -> bytes:
        """The whole blob. Raises `Missing`."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write atomically: a reader never sees part of a blob."""
        ...

    def delete(self, name: str) -> None:
        """Remove a blob. Removing an absent one is no error."""
        ...

    def names(self, prefix: str = "") -> Iterator[str]:
        """Names that start with ``prefix``, sorted."""
        ...

    def written(self, prefix: str = "") -> Iterator[tuple[str, float]]:
        """Names that start with ``prefix``, sorted, and the unix time at which each was written."""
        ...

    def download(self, name: str, path: str) -> None:
        """Copy a blob to a local file (for memory-mapping). Raises `Missing`."""
        ...

    def upload(self, path: str, name: str) -> None:
        """Copy a local file to a blob."""
        ...


class Cache(Protocol):
    """A cache that never raises: an error is a miss, and counted in a metric."""

    def get(self, key: str) -> bytes | None:
        """The value; None if it is absent or expired, or the cache is unreachable."""
        ...

    def put(self, key: str, value: bytes, *, seconds: float) -> None:
        """Store a value for at most that many seconds."""
        ...

    def delete(self, key: str) -> None:
        """Remove a key."""
        ...

    def add(self, key: str, amount: int = 1, *, seconds: float) -> int | None:
        """Increment a counter atomically and return it; None if the cache is unreachable."""
        ...


class Stream(Protocol):
    """A log with Kinesis' semantics: at-least-once delivery, ordered within a key."""

    def publish(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
        """Append up to 500 (key, payload) pairs; for each, None or the reason of its failure.

        A key has 1–200 characters, a payload 1 byte to just under 1 MB. If the stream is
        unreachable, every record fails, each with that reason.
        """
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record of a stream as its consumer receives it."""

    key: str
    payload: bytes
    shard: str
    position: int  #: increases within a key, even when shards are split or merged
    arrived: float  #: unix seconds


@dataclass(frozen=True, slots=True)
class Execution:
    """The state of one run of a state machine."""

    name: str
    status: str  #: RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED
    output: Mapping[str, Any] | None = None
    error: str | None = None
    cause: str | None = None


class Executions(Protocol):
    """State machines by name: ``training``, later ``discovery``."""

    def start(self, machine: str, name: str, document: Mapping[str, Any]) -> str:
        """Start a run under a unique name (``[A-Za-z0-9_-]{1,47}``), and return the name.

        The document, plain JSON of at most 256 KB, is passed on with ``tenant`` added. Raises
        `Conflict` for a name in use, except by a run of the same document that is still going: so a
        start may be repeated after a lost answer. Raises `Missing` for an unknown machine.
        """
        ...

    def describe(self, machine: str, name: str) -> Execution:
        """The run of that name. Raises `Missing`."""
        ...


class Releases(Protocol):
    """The release of a bundle to serving; see docs/decisions/0013-bundles-in-snapshots.md."""

    def begin(self, version: str) -> str | None:
        """Start the release of a bundle and return its id; None if the bundle serves already.

        Idempotent, so it may be repeated after a lost answer. Raises `Withdrawn` if no process can
        load the bundle.
        """
        ...

    def finished(self, release: str) -> bool:
        """True once the bundle serves every request, False while requests are being shifted.

        Raises `Withdrawn` if the release was rolled back.
        """
        ...


class AtOnce:
    """`Releases` where every process follows the pointer: a new bundle serves within seconds."""

    def begin(self, version: str) -> None:
        """Nothing to do: the pointer has been moved."""

    def finished(self, release: str) -> bool:
        """Always true."""
        return True


class Versions(Protocol):
    """Published versions of the functions that answer the API, of all tenants."""

    def forget(self, keep: int) -> int:
        """Delete the versions that no alias names, but for the latest ``keep``; their number."""
        ...


class NoVersions:
    """`Versions` of a home without any."""

    def forget(self, keep: int) -> int:
        """Nothing to delete."""
        return 0


class Clock(Protocol):
    """The current time, which a test can set."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for durations and time limits."""
        ...


class Meter(Protocol):
    """Metrics, by the names that the dashboard uses."""

    def count(self, name: str, value: float = 1, **dimensions: str) -> None:
        """Add to a counter."""
        ...

    def observe(self, name: str, value: float, unit: str, **dimensions: str) -> None:
        """Record one measurement in a unit of CloudWatch, e.g. ``Milliseconds``."""
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
    versions: Versions = field(default_factory=NoVersions)
    #: The only bundle that this process serves; None: it follows the pointer.
    serves: str | None = None


class Home(Protocol):
    """A provider of the ports: AWS or a laptop. Only handlers and scripts choose one."""

    def open(self, tenant: str) -> Ports:
        """The ports of one tenant: keys, blobs, cache entries and stream keys are its own."""
        ...
