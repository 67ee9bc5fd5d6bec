"""The consumer of the event stream: it updates viewers and the hot counters of videos."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import orjson

from vireo.catalogue import counters
from vireo.catalogue.counters import BUCKET, CELLS, HOT, PARTS
from vireo.catalogue.places import group
from vireo.events.models import EventRow as Row
from vireo.events.models import Exposure, Refusal, checked
from vireo.letters import DeadLetters
from vireo.ports import (
    Arrival,
    Conflict,
    Item,
    Meter,
    Ports,
    Put,
    Record,
    Records,
    Table,
    Unavailable,
)
from vireo.projection import Change, Followed, Memory, Poison, advance, follow
from vireo.viewers import rows
from vireo.viewers.erasure import erased_at
from vireo.viewers.viewer import EventType, apply, is_positive
from vireo.viewers.views import Views

log = logging.getLogger(__name__)

#: Number of buckets in which a viewer has one view of a video.
WINDOW = int(HOT // BUCKET)
_CELL = {cell: at for at, cell in enumerate(CELLS)}
_COUNTED = {
    EventType.WATCH: "watches",
    EventType.LIKE: "likes",
    EventType.COMMENT: "likes",
    EventType.SHARE: "likes",
    EventType.CLICK: "clicks",
}


def read(arrival: Arrival) -> Change[Row] | None:
    """The event in a record; None for an exposure. Raises `Poison`."""
    try:
        given = orjson.loads(arrival.payload)
    except orjson.JSONDecodeError as error:
        raise Poison(f"not JSON: {error}") from None
    try:
        if isinstance(given, dict) and given.get("type") == "exposure":
            Exposure.model_validate(given)
            return None
        # The age is judged by time of arrival, as in the route: the record may be a replayed one.
        row = checked(given, arrival.arrived)
    except Refusal as refusal:
        raise Poison(str(refusal)) from None
    except ValueError as error:
        raise Poison(f"not an exposure: {error}") from None
    if row.user_id != arrival.key:
        raise Poison("user_id: not the key that it was sent by")
    return Change(arrival, row.event_id, row)


@dataclass(frozen=True)
class _Told:
    """An event that counted for its viewer."""

    row: Row
    video: int  #: its key
    view: bool  #: it is the viewer's view of the video


@dataclass
class _Known:
    """A viewer's events since the last settlement; see `vireo.viewers.rows`."""

    user: str
    events: bytearray = field(default_factory=bytearray)
    erased: float | None = None  #: events up to this moment are ignored
    settled: int = 0
    version: int = 0  #: of the row ``now``
    past: Record | None = None  #: only if the row ``past`` exists and ``now`` does not
    views: Views = field(default_factory=partial(Views, WINDOW))
    bucket: int = 0  #: of the last event


@dataclass(frozen=True)
class Viewers:
    """The projection of events to viewers."""

    records: Records
    #: The states of a batch, by viewer.
    states: dict[str, _Known] = field(default_factory=dict)

    def read(self, key: str) -> tuple[_Known, Memory]:
        """The events since the last settlement. The row ``past`` is not needed to add an event."""
        state, memory = self._read(key)
        self.states[key] = state
        return state, memory

    def _read(self, key: str) -> tuple[_Known, Memory]:
        page = self.records.query(Table.VIEWERS, key, after=rows.PAST)
        found = {record.sort: record for record in page.records}
        now, seen = found.get(rows.NOW), found.get(rows.SEEN)
        if now is None:
            return self._first(key)
        if rows.settled(now) != rows.settled(seen):
            raise Conflict("a query saw half of a transaction")
        memory = Memory.of(now.item, b"" if seen is None else seen.item["seen"])
        events, erased = bytearray(now.item["events"]), now.item["erased"]
        older = b"" if seen is None else seen.item.get("views", b"")
        views = Views.of(WINDOW, older, now.item.get("views", b""))
        return _Known(key, events, erased, rows.settled(now), now.version, views=views), memory

    def _first(self, key: str) -> tuple[_Known, Memory]:
        """The state of a viewer without events; they may have been erased, which a note records."""
        past = self.records.get(Table.VIEWERS, key, rows.PAST)
        if past is not None and "position" in past.item:  # all in one row, as of version 1
            erased, memory = past.item["erased"], Memory.of(past.item)
        else:
            erased, memory = erased_at(self.records, key), Memory()
        return _Known(key, erased=erased, settled=rows.settled(past), past=past), memory

    def apply(self, state: _Known, change: Change[Row]) -> _Known:
        """The state with the event appended, unless an erasure covers it."""
        row, event = change.what, change.what.happened()
        state.bucket = int(change.arrival.arrived // BUCKET)
        if state.erased is None or row.timestamp > state.erased:
            state.events += rows.pack_event(event)
            if is_positive(event):
                state.views.add(event.video, change.arrival.position, state.bucket)
        return state

    def told(self, change: Change[Row]) -> _Told:
        """The event, which was followed with this batch, and whether it is a view.

        The answer is the same for every delivery of it.
        """
        row, event = change.what, change.what.happened()
        views, position = self.states[row.user_id].views, change.arrival.position
        return _Told(row, event.video, is_positive(event) and views.has(event.video, position))

    def writes(self, state: _Known, memory: Memory) -> Sequence[Put]:
        """The row ``now``; and, when events are settled, the rows ``past`` and ``seen``, too.

        Events are settled after every `rows.SETTLE`, and the first time if there is only a
        ``past``. An erasure in the meantime deletes the row, so its expected version no longer
        exists.
        """
        beside: list[Put] = []
        if state.past is not None or len(memory) >= rows.SETTLE:
            past = state.past or self.records.get(Table.VIEWERS, state.user, rows.PAST)
            viewer = apply(rows.viewer_of(past), rows.unpack_events(bytes(state.events)))
            state.settled, state.events = state.settled + 1, bytearray()
            settled: Item = {"settled": state.settled}
            item = settled | {"viewer": viewer.pack()}
            views = state.views.settle(state.bucket)
            seen = settled | {"seen": memory.settle(), "views": views}
            expect = 0 if past is None else past.version
            beside = [
                Put(Table.VIEWERS, state.user, rows.PAST, item, expect),
                Put(Table.VIEWERS, state.user, rows.SEEN, seen),
            ]
        item = {
            "events": bytes(state.events),
            "erased": state.erased,
            "settled": state.settled,
            "views": state.views.packed(),
        }
        now = item | memory.item()
        return [Put(Table.VIEWERS, state.user, rows.NOW, now, state.version), *beside]


@dataclass
class _Tally:
    """Stored counts, and the changes to be added to them."""

    counts: counters.Counts
    version: int
    changes: dict[tuple[int, bytes], list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Videos:
    """The projection of events to the counters of one bucket, shard and part of the videos."""

    records: Records
    meter: Meter
    bucket: int
    shard: str
    part: int

    def read(self, key: str) -> tuple[_Tally, Memory]:
        """The counts so far; none of a record that cannot be read, which is a metric."""
        found = self.records.get(*counters.place(self.bucket, self.shard, self.part))
        if found is None:
            return _Tally(counters.empty(), 0), Memory()
        try:
            table = counters.unpack(found.item)
        except ValueError:
            log.exception("the hot counters of %s, %s, begin anew", found.key, found.sort)
            self.meter.count("CountersRefused")
            table = counters.empty()
        return _Tally(table, found.version), Memory.of(found.item)

    def apply(self, state: _Tally, change: Change[_Told]) -> _Tally:
        """The counts with the event added."""
        row = change.what.row
        pair = change.what.video, (row.country or "").encode()
        counts = state.changes.setdefault(pair, [0] * len(CELLS))
        place = group(row.position)
        if row.type is EventType.IMPRESSION:
            counts[_CELL["impressions", place]] += 1
        elif row.type in _COUNTED:
            counts[_CELL[_COUNTED[row.type]]] += 1
        if change.what.view:
            counts[_CELL["views", place]] += 1
        return state

    def writes(self, state: _Tally, memory: Memory) -> Sequence[Put]:
        """The packed counts, without the least active pairs if there are too many."""
        total = counters.added(state.counts, counters.rows(state.changes))
        item = counters.pack(counters.bounded(total)) | memory.item()
        place = counters.place(self.bucket, self.shard, self.part)
        return [Put(*place, item, state.version, counters.expires(self.bucket))]


class Tracking:
    """The consumer of one tenant's events."""

    def __init__(self, ports: Ports) -> None:
        self._records = ports.records
        self._letters = DeadLetters(ports.blobs)
        self._meter = ports.meter
        self._clock = ports.clock

    def follow(self, batch: Sequence[Arrival]) -> int | None:
        """Process records of one shard, in order of position: first for viewers, then for videos.

        Returns:
            the position of the first record that must be redelivered, or None.
        """
        if not batch:
            return None
        viewers = Viewers(self._records)
        done = follow(batch, viewers, read, records=self._records, letters=self._letters)
        failed = done.failed
        try:
            self._count([Change(c.arrival, None, viewers.told(c)) for c in done.counted])
        except Unavailable:
            failed = batch[0].position
        self._tell(batch, done, failed)
        return failed

    def _count(self, changes: Sequence[Change[_Told]]) -> None:
        """Count the events that counted for their viewer; `vireo.projection` explains it.

        They have no identity here: repeats were removed with the viewer's state.
        """
        parts: dict[tuple[int, str, int], list[Change[_Told]]] = {}
        for change in changes:
            part = change.what.video % PARTS
            where = int(change.arrival.arrived // BUCKET), change.arrival.shard, part
            parts.setdefault(where, []).append(change)
        for where, counted_here in parts.items():
            projection = Videos(self._records, self._meter, *where)
            advance(self._records, projection, "", counted_here, self._letters.bury)

    def _tell(self, batch: Sequence[Arrival], done: Followed[Row], failed: int | None) -> None:
        self._meter.count("EventsFollowed", len(done.counted))
        self._meter.count("EventsRepeated", done.repeated)
        self._meter.count("DeadLetters", done.buried)
        self._meter.count("TrackingFailed", int(failed is not None))
        lag = self._clock.now() - min(arrival.arrived for arrival in batch)
        self._meter.observe("TrackingLag", 1e3 * lag, "Milliseconds")
