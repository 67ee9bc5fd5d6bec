"""Where a viewer is kept: a large row that is seldom written, and a small one that events write.

All rows of a viewer are in one partition of ``VIEWERS``, so one query reads what a request needs.
The *past* is a packed viewer up to some event; *now* has the events since then. Reading applies
those to that. When `SETTLE` events have come, they are settled: one transaction writes the past
anew and empties the other row. So what an event costs does not depend on how long a viewer has been
here, and hardly on what DynamoDB asks for writing a kilobyte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from vireo.ports import Delete, Item, Put, Record, Records, Table, Unavailable
from vireo.viewers.viewer import Event, EventType, Viewer, apply

#: Sort keys. What a request reads comes before `SEEN`, what an event needs after `PAST`.
PAST, NOW, SEEN = "", "now", "seen"
#: Events after which they are settled: 3 KB, and few enough to be applied by every request.
SETTLE = 64
#: How often rows are read again that another process is writing.
_ATTEMPTS = 10

#: type (its place in `EventType`: new ones go to the end), video, time, seconds, fraction
_EVENT = struct.Struct("<BQddd")
_TYPES = tuple(EventType)
_NUMBER = {kind: number for number, kind in enumerate(_TYPES)}


def read(records: Records, user_id: str) -> Viewer | None:
    """The viewer as of their last event, None if there is none.

    Raises:
        ValueError: a row is of another version.
        Unavailable: the store does not answer, or others settle all the time.
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
    """The viewer that the past is, without what came since. Raises ValueError."""
    return Viewer() if past is None else Viewer.unpack(past.item["viewer"])


def settled(row: Record | None) -> int:
    """How often events were settled when the row was written: alike for rows that fit together."""
    return 0 if row is None else int(row.item.get("settled", 0))


def whole(user_id: str, viewer: Viewer) -> list[Put | Delete]:
    """Writes that put a viewer in place of whatever is kept of them."""
    item: Item = {"viewer": viewer.pack()}
    return [Put(Table.VIEWERS, user_id, PAST, item), *gone(user_id)[1:]]


def gone(user_id: str) -> list[Put | Delete]:
    """Writes that remove a viewer."""
    return [Delete(Table.VIEWERS, user_id, sort) for sort in (PAST, NOW, SEEN)]


def pack_event(event: Event) -> bytes:
    """33 bytes."""
    return _EVENT.pack(_NUMBER[event.type], event.video, event.time, event.seconds, event.fraction)


def unpack_events(packed: bytes) -> Iterator[Event]:
    """Events, one behind the other. Raises ValueError for what is none."""
    try:
        for kind, *rest in _EVENT.iter_unpack(packed):
            yield Event(_TYPES[kind], *rest)
    except (struct.error, IndexError) as error:
        raise ValueError(f"not events of a viewer: {error}") from None
