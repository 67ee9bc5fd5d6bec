"""The consumer of the event stream: it updates viewers and the hot counters of videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from vireo.catalogue import counters
from vireo.catalogue.counters import COUNTS, PARTS
from vireo.events.models import EventRow as Row
from vireo.events.models import Exposure, Refusal, checked
from vireo.keys import key_of
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Conflict, Item, Ports, Put, Record, Records, Table, Unavailable
from vireo.projection import Change, Followed, Memory, Poison, advance, follow
from vireo.viewers import rows
from vireo.viewers.erasure import erased_at
from vireo.viewers.viewer import EventType, apply, is_positive


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


@dataclass
class _Known:
    """A viewer's events since the last settlement; see `vireo.viewers.rows`."""

    user: str
    events: bytearray = field(default_factory=bytearray)
    erased: float | None = None  #: events up to this moment are ignored
    settled: int = 0
    version: int = 0  #: of the row ``now``
    past: Record | None = None  #: only if the row ``past`` exists and ``now`` does not


@dataclass(frozen=True)
class Viewers:
    """The projection of events to viewers."""

    records: Records

    def read(self, key: str) -> tuple[_Known, Memory]:
        """The events since the last settlement. The row ``past`` is not needed to add an event."""
        page = self.records.query(Table.VIEWERS, key, after=rows.PAST)
        found = {record.sort: record for record in page.records}
        now, seen = found.get(rows.NOW), found.get(rows.SEEN)
        if now is None:
            return self._first(key)
        if rows.settled(now) != rows.settled(seen):
            raise Conflict("a query saw half of a transaction")
        memory = Memory.of(now.item, b"" if seen is None else seen.item["seen"])
        events, erased = bytearray(now.item["events"]), now.item["erased"]
        return _Known(key, events, erased, rows.settled(now), now.version), memory

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
        row = change.what
        if state.erased is None or row.timestamp > state.erased:
            state.events += rows.pack_event(row.happened())
        return state

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
            expect = 0 if past is None else past.version
            beside = [
                Put(Table.VIEWERS, state.user, rows.PAST, item, expect),
                Put(Table.VIEWERS, state.user, rows.SEEN, settled | {"seen": memory.settle()}),
            ]
        item = {"events": bytes(state.events), "erased": state.erased, "settled": state.settled}
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
    bucket: int
    shard: str
    part: int

    def read(self, key: str) -> tuple[_Tally, Memory]:
        """The counts so far."""
        found = self.records.get(*counters.place(self.bucket, self.shard, self.part))
        item, version = (None, 0) if found is None else (found.item, found.version)
        return _Tally(counters.unpack(item), version), Memory.of(item)

    def apply(self, state: _Tally, change: Change[Row]) -> _Tally:
        """The counts with the event added."""
        row = change.what
        event = row.happened()
        pair = event.video, (row.country or "").encode()
        told = (
            is_positive(event),
            row.type is EventType.WATCH,
            row.type in (EventType.LIKE, EventType.COMMENT, EventType.SHARE),
            row.type is EventType.IMPRESSION,
            row.type is EventType.CLICK,
        )
        counts = state.changes.setdefault(pair, [0] * len(COUNTS))
        for j, yes in enumerate(told):
            counts[j] += yes
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
            self._count(done.counted)
        except Unavailable:
            failed = batch[0].position
        self._tell(batch, done, failed)
        return failed

    def _count(self, changes: Sequence[Change[Row]]) -> None:
        """Count the events that counted for their viewer; `vireo.projection` explains it."""
        parts: dict[Videos, list[Change[Row]]] = {}
        for change in changes:
            bucket = int(change.arrival.arrived // counters.BUCKET)
            part = key_of(change.what.video_id) % PARTS
            # Without an identity: repeats were removed with the viewer's state.
            counted = Change(change.arrival, None, change.what)
            projection = Videos(self._records, bucket, change.arrival.shard, part)
            parts.setdefault(projection, []).append(counted)
        for projection, counted_here in parts.items():
            advance(self._records, projection, "", counted_here, self._letters.bury)

    def _tell(self, batch: Sequence[Arrival], done: Followed[Row], failed: int | None) -> None:
        self._meter.count("EventsFollowed", len(done.counted))
        self._meter.count("EventsRepeated", done.repeated)
        self._meter.count("DeadLetters", done.buried)
        self._meter.count("TrackingFailed", int(failed is not None))
        lag = self._clock.now() - min(arrival.arrived for arrival in batch)
        self._meter.observe("TrackingLag", 1e3 * lag, "Milliseconds")
