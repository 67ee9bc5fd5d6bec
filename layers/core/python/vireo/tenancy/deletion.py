"""The deletion of a tenant: first nobody gets in any more, then all that it has goes.

It may be interrupted anywhere and begun again: a note says when it began, until nothing is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from vireo import identity
from vireo.jobs.progress import Progress, silent
from vireo.ports import Delete, Table
from vireo.tenancy.whole import Whole

#: Notes of erasure, and which bundle serves, go last: while anything else is left they count.
ORDER = (Table.VIEWERS, Table.VIDEOS, Table.OVERLAY, Table.SETTINGS, Table.REGISTRY)
#: Records deleted together: even the largest stay below the 4 MB of a transaction.
_TOGETHER = 10
#: Times that everything is looked through again for what was still on its way.
_PASSES = 5


class StillWritten(Exception):
    """Something keeps writing for the tenant."""


@dataclass
class Removed:
    """The number of things that are gone."""

    clients: list[str] = field(default_factory=list)
    records: Counter[Table] = field(default_factory=Counter)
    blobs: int = 0

    def __bool__(self) -> bool:
        return bool(self.clients or self.records.total() or self.blobs)


def delete(
    home: Whole,
    tenant: str,
    wait: Callable[[float], None],
    progress: Progress = silent,
) -> Removed:
    """Remove a tenant's clients, then its records, blobs and what the home keeps of it.

    Args:
        home: where it is.
        tenant: its name.
        wait: called twice: with the seconds until every process has forgotten its clients, and
            with those until the events that they sent are in files.
        progress: told what is being removed.

    Raises:
        StillWritten: it is not empty after all passes.
    """
    removed = Removed(identity.clients(home, tenant))
    work = _Work(home, tenant, removed, progress)
    if not removed.clients and identity.leaving(home, tenant) is None and work.is_done():
        return removed
    began = identity.mark_leaving(home, tenant)
    for client in removed.clients:
        identity.unregister_client(home, client)
    # First until every process has forgotten the clients, then until all that these sent is there.
    for end in (began + identity.REMEMBERED, began + identity.REMEMBERED + home.late):
        wait(max(0.0, end - work.ports.clock.now()))
        work.until_nothing_is_left()
    home.forget(tenant)
    identity.forget_leaving(home, tenant)
    return removed


class _Work:
    """The removal of records and blobs, as often as there are any."""

    def __init__(self, home: Whole, tenant: str, removed: Removed, progress: Progress) -> None:
        self.ports = home.open(tenant)
        self._home, self._tenant = home, tenant
        self._removed, self._progress = removed, progress

    def is_done(self) -> bool:
        """Tells whether there is no record and no blob."""
        if any(True for table in ORDER for _ in self._home.places(self._tenant, table)):
            return False
        return next(self.ports.blobs.names(), None) is None

    def until_nothing_is_left(self) -> None:
        """Removes whatever there is, several times if need be. Raises `StillWritten`."""
        for _ in range(_PASSES):
            if not self._went():
                return
        raise StillWritten(f"something still writes for {self._tenant}: stop it, and begin again")

    def _went(self) -> bool:
        """Removes all that is there, and tells whether there was anything."""
        before = self._removed.records.total() + self._removed.blobs
        for table in ORDER[:-1]:
            self._empty(table)
        for name in list(self.ports.blobs.names()):
            self.ports.blobs.delete(name)
            self._removed.blobs += 1
            self._progress(None, f"{self._removed.blobs:,} blobs")
        self._empty(ORDER[-1])
        return self._removed.records.total() + self._removed.blobs > before

    def _empty(self, table: Table) -> None:
        places, count = self._home.places(self._tenant, table), self._removed.records
        while some := list(islice(places, _TOGETHER)):
            self.ports.records.write([Delete(table, key, sort) for key, sort in some])
            count[table] += len(some)
            self._progress(None, f"{count[table]:,} of {table}")
