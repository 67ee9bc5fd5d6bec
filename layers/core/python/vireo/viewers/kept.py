"""All that the rows of a viewer hold, each row by itself, for people who ask for their data."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from vireo.keys import Keys
from vireo.ports import Record, Records, Table, Unavailable
from vireo.projection import Memory
from vireo.viewers import rows
from vireo.viewers.viewer import Event, Viewer, apply
from vireo.viewers.views import View, Views

log = logging.getLogger(__name__)

#: What the fields of a damaged row raise.
_DAMAGE = (LookupError, TypeError, ValueError, ArithmeticError)
#: Attempts to read rows while another process settles them.
_ATTEMPTS = 10


@dataclass
class Kept:
    """The content of a viewer's rows."""

    rows: int = 0  #: how many there are
    viewer: Viewer | None = None  #: as of the last event; None if there is none or it is unreadable
    events: tuple[Event, ...] = ()  #: those since the last settlement, oldest first
    position: str | None = None  #: of the stream, up to which it was followed
    identities: list[int] = field(default_factory=list)  #: keys of the ids of the last events
    views: list[View] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)  #: why, by the sort key of the row


def read(records: Records, user_id: str, period: int) -> Kept:
    """Everything in the rows of a viewer; a row that cannot be read is named, the others count.

    Args:
        records: of the tenant.
        user_id: the viewer.
        period: the current one of `Views`, from which theirs are told.

    Raises:
        Unavailable: the store does not answer, or every read meets a settlement.
    """
    for _ in range(_ATTEMPTS):
        found = {row.sort: row for row in records.query(Table.VIEWERS, user_id).records}
        if _together(found):
            return _decoded(found, period)
    raise Unavailable(f"{user_id} changes too fast")


def _together(found: dict[str, Record]) -> bool:
    """Tells whether the rows are of one settlement; a query may see half of a transaction."""
    if rows.NOW not in found:
        return True
    numbers = set()
    for sort in (rows.PAST, rows.NOW, rows.SEEN):
        try:
            numbers.add(rows.settled(found.get(sort)))
        except _DAMAGE:  # to read it again would not help; `_decoded` tells
            continue
    return len(numbers) <= 1


def _decoded(found: dict[str, Record], period: int) -> Kept:
    kept = Kept(len(found))
    past, now, seen = (found.get(sort) for sort in (rows.PAST, rows.NOW, rows.SEEN))
    if past is not None:
        with _told(kept, past):
            kept.viewer = rows.viewer_of(past)
            _remember(kept, Memory.of(past.item))  # all in one row, as of version 1
    elif now is not None:
        kept.viewer = Viewer()
    if now is not None:
        with _told(kept, now):
            kept.events = tuple(rows.unpack_events(rows.item(now)["events"]))
            _remember(kept, Memory.of(now.item))
            kept.views += Views.of(0, recent=now.item.get("views", b"")).rows(period)
            if kept.viewer is not None:
                kept.viewer = apply(kept.viewer, kept.events)
    if seen is not None:
        with _told(kept, seen):
            kept.identities += _identities(np.frombuffer(rows.item(seen)["seen"], np.uint64))
            kept.views += Views.of(0, seen.item.get("views", b"")).rows(period)
    return kept


@contextmanager
def _told(kept: Kept, row: Record) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        log.warning("the row %r of a viewer cannot be read", row.sort, exc_info=True)
        kept.unreadable[row.sort] = str(error) or type(error).__name__


def _remember(kept: Kept, memory: Memory) -> None:
    if memory.position >= 0:
        kept.position = str(memory.position)
    kept.identities += _identities(memory.recent)


def _identities(pairs: Keys) -> list[int]:
    found: list[int] = pairs.reshape(-1, 2)[:, 0].tolist()
    return found
