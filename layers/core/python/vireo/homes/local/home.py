"""The home on a laptop: everything in one folder, without any service to set up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vireo.homes.clock import SystemClock
from vireo.homes.local import disk
from vireo.homes.local.blobs import LocalBlobs
from vireo.homes.local.cache import LocalCache, Memory
from vireo.homes.local.executions import LocalExecutions, Machines
from vireo.homes.local.records import RecordFile
from vireo.homes.local.stream import StreamLog
from vireo.homes.meter import LocalMeter
from vireo.homes.names import checked_tenant
from vireo.ports import Cache, Clock, Meter, Ports, Table

#: A Lambda function: takes an event and a context, returns plain JSON.
Function = Callable[[Any, Any], Any]


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may enter; one that is there stays as its owner made it."""
    disk.make_folder(path, 0o700)


class LocalHome:
    """`vireo.ports.Home` in a folder, which several processes may share.

    ``log`` (the stream, for its consumers), ``machines`` (executions of all tenants) and ``meter``
    are public for the code that plays the cloud's part: consumers, schedules, tests.
    """

    #: See `vireo.tenancy.whole.Whole`: twice what `vireo.homes.local.delivery` waits for.
    late = 120.0

    def __init__(
        self,
        folder: Path,
        *,
        redis_url: str | None = None,
        clock: Clock | None = None,
        meter: Meter | None = None,
        functions: Mapping[str, Function] | None = None,
        definitions: Path | None = None,
    ) -> None:
        folder = folder.resolve()
        private_folder(folder)
        for name in ("stream", "executions", "blobs", "scratch"):
            private_folder(folder / name)
        # SQLite gives its journal the mode of the file.
        disk.make_file(folder / "records.db")
        self.folder = folder
        self.clock: Clock = clock or SystemClock()
        self.meter: Meter = meter or LocalMeter()
        self.log = StreamLog(folder / "stream", self.clock)
        self.machines = Machines(
            folder / "executions",
            {} if functions is None else functions,
            definitions or Path("statemachines"),
            self.clock,
        )
        self._records = RecordFile(folder / "records.db", self.clock)
        self._memory = Memory(self.clock)
        self._redis = None
        if redis_url:
            # Imported here, because it loads as slowly as numpy and few laptops have a Redis.
            from vireo.homes.redis_cache import RedisServer  # noqa: PLC0415

            self._redis = RedisServer(redis_url, self.clock)

    def open(self, tenant: str) -> Ports:
        """The ports of one tenant. Raises `Refused` for an invalid tenant name."""
        checked_tenant(tenant)
        scratch = self.folder / "scratch" / tenant
        scratch.mkdir(parents=True, exist_ok=True)
        return Ports(
            records=self._records.open(tenant),
            blobs=LocalBlobs(self.folder / "blobs", tenant),
            cache=self._cache(tenant),
            stream=self.log.open(tenant),
            executions=LocalExecutions(self.machines, tenant),
            clock=self.clock,
            meter=self.meter,
            scratch=str(scratch),
        )

    def places(
        self, tenant: str, table: Table, part: int = 0, parts: int = 1
    ) -> Iterator[tuple[str, str]]:
        """See `vireo.tenancy.whole.Whole`."""
        return self._records.open(checked_tenant(tenant)).places(table, part, parts)

    def forget(self, tenant: str) -> None:
        """See `vireo.tenancy.whole.Whole`: unpacked bundles, folders, and ended executions."""
        self.machines.forget(checked_tenant(tenant))
        for name in ("scratch", "blobs"):
            if (folder := self.folder / name / tenant).exists():
                shutil.rmtree(folder)

    def sync(self) -> None:
        """Bring on disk all that was written to records; blobs and the stream are at once."""
        self._records.sync()

    def close(self) -> None:
        """Close files and connections. A running execution goes on as long as the process does."""
        self._records.close()
        if self._redis is not None:
            self._redis.close()

    def _cache(self, tenant: str) -> Cache:
        if self._redis is None:
            return LocalCache(self._memory, tenant, self.meter)
        return self._redis.cache(tenant, self.meter)


def home(
    folder: str | Path,
    *,
    redis_url: str | None = None,
    clock: Clock | None = None,
    meter: Meter | None = None,
    functions: Mapping[str, Function] | None = None,
    definitions: Path | None = None,
) -> LocalHome:
    """The home in ``folder``, which is created if necessary.

    Args:
        folder: holds records, blobs, the stream and executions.
        redis_url: a Redis for the cache; without one the cache is in the process.
        clock: the system's by default.
        meter: a `LocalMeter` by default.
        functions: Lambda functions by the name in state machines' definitions
            (``${TrainingFunction}`` calls ``functions["TrainingFunction"]``); the mapping is read
            when an execution runs, so it may be filled after the home is made.
        definitions: the folder of ``<machine>.asl.json``; ``statemachines`` by default.
    """
    return LocalHome(
        Path(folder),
        redis_url=redis_url,
        clock=clock,
        meter=meter,
        functions=functions,
        definitions=definitions,
    )
