"""The storage of viewers: a large row, seldom written, and a small one that every event rewrites.

All rows of a viewer are in one partition of ``VIEWERS``, so one query reads all that a request
needs. The row *past* holds the packed viewer as of some event, the row *now* the events since.
Readers apply the events to the past. When there are `SETTLE` events they are settled: one
transaction rewrites the past and empties the other row. The cost of an event therefore does not
depend on the length of the viewer's history, and is close to DynamoDB's price for one kilobyte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from vireo.ports import UNREADABLE, Delete, Item, Put, Record, Records, Table, Unavailable
from vireo.viewers.viewer import Event, EventType, Viewer, apply

#: Sort keys. Requests read the rows before `SEEN`, events those after `PAST`.
PAST, NOW, SEEN = "", "now", "seen"
#: Events after which they are settled: at most 3 KB, and few enough for requests to apply.
SETTLE = 64
#: Attempts to read rows while another process writes them.
_ATTEMPTS = 10

#: type (its position in `EventType`, so append new ones), video, time, seconds, fraction
_EVENT = struct.Struct("<BQddd")
_TYPES = tuple(EventType)
_NUMBER = {kind: number for number, kind in enumerate(_TYPES)}


def read(records: Records, user_id: str) -> Viewer | None:
    """The viewer as of their last event, None if there are no rows.

    Raises:
        ValueError: a row is of another version, or cannot be read.
        Unavailable: the store does not answer, or every read meets another settlement.
    """
    for _ in range(_ATTEMPTS):
        page = records.query(Table.VIEWERS, user_id, before=SEEN)
        rows = {record.sort: record for record in page.records}
        if not rows:
            return None
        past, now = rows.get(PAST), rows.get(NOW)
        viewer = viewer_of(past)
        if now is None:
            return viewer
        if settled(past) == settled(now):  # a query may see half of a transaction
            return apply(viewer, unpack_events(now.item["events"]))
    raise Unavailable(f"{user_id} changes too fast")


def viewer_of(past: Record | None) -> Viewer:
    """The viewer in the past row, without later events. Raises ValueError."""
    return Viewer() if past is None else Viewer.unpack(_readable(past)["viewer"])


def _readable(row: Record) -> Item:
    if UNREADABLE in row.item:
        raise ValueError(f"the row {row.sort!r} of a viewer: {row.item[UNREADABLE]}")
    return row.item


def settled(row: Record | None) -> int:
    """Number of settlements before the row was written: equal for rows that belong together.

    Raises ValueError for a row that cannot be read.
    """
    return 0 if row is None else int(_readable(row).get("settled", 0))


def whole(user_id: str, viewer: Viewer) -> list[Put | Delete]:
    """Writes that replace all rows of a viewer."""
    item: Item = {"viewer": viewer.pack()}
    return [Put(Table.VIEWERS, user_id, PAST, item), *gone(user_id)[1:]]


def gone(user_id: str) -> list[Put | Delete]:
    """Writes that delete all rows of a viewer."""
    return [Delete(Table.VIEWERS, user_id, sort) for sort in (PAST, NOW, SEEN)]


def pack_event(event: Event) -> bytes:
    """An event as 33 bytes."""
    return _EVENT.pack(_NUMBER[event.type], event.video, event.time, event.seconds, event.fraction)


def unpack_events(packed: bytes) -> Iterator[Event]:
    """The events of concatenated `pack_event`. Raises ValueError for other bytes."""
    try:
        for kind, *rest in _EVENT.iter_unpack(packed):
            yield Event(_TYPES[kind], *rest)
    except (struct.error, IndexError) as error:
        raise ValueError(f"not events of a viewer: {error}") from None
