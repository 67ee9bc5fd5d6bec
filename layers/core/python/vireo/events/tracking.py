"""Follows the stream of events: viewers change by it, and so do the hot counters of videos."""

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
    """The event that a record holds; None for an exposure. Raises `Poison`."""
    try:
        given = orjson.loads(arrival.payload)
    except orjson.JSONDecodeError as error:
        raise Poison(f"not JSON: {error}") from None
    try:
        if isinstance(given, dict) and given.get("type") == "exposure":
            Exposure.model_validate(given)
            return None
        # The route has judged the time by when the event came in; here it may be replayed.
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
    """A viewer's events since the past was written; see `vireo.viewers.rows`."""

    user: str
    events: bytearray = field(default_factory=bytearray)
    erased: float | None = None  #: nothing up to this moment is known of them any more
    settled: int = 0
    version: int = 0  #: of the row of now
    past: Record | None = None  #: only if there was a past, but no row of now yet


@dataclass(frozen=True)
class Viewers:
    """Viewers follow what they do."""

    records: Records

    def read(self, key: str) -> tuple[_Known, Memory]:
        """What came lately. The past is not read: no event depends on it."""
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
        """One of whom no event is known may have been erased: the note says until when."""
        past = self.records.get(Table.VIEWERS, key, rows.PAST)
        if past is not None and "position" in past.item:  # all in one row, as of version 1
            erased, memory = past.item["erased"], Memory.of(past.item)
        else:
            erased, memory = erased_at(self.records, key), Memory()
        return _Known(key, erased=erased, settled=rows.settled(past), past=past), memory

    def apply(self, state: _Known, change: Change[Row]) -> _Known:
        """What an erased person did before they asked for it stays forgotten."""
        row = change.what
        if state.erased is None or row.timestamp > state.erased:
            state.events += rows.pack_event(row.happened())
        return state

    def writes(self, state: _Known, memory: Memory) -> Sequence[Put]:
        """A row of events; now and then, and where only a past was, the past and identities too.

        Who is erased meanwhile has no row of that version any more.
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
    """Counts, and what is to be added to them."""

    counts: counters.Counts
    version: int
    changes: dict[tuple[int, bytes], list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Videos:
    """The counters of one bucket of time, one shard and one part of the videos follow events."""

    records: Records
    bucket: int
    shard: str
    part: int

    def read(self, key: str) -> tuple[_Tally, Memory]:
        """What was counted so far."""
        found = self.records.get(*counters.place(self.bucket, self.shard, self.part))
        item, version = (None, 0) if found is None else (found.item, found.version)
        return _Tally(counters.unpack(item), version), Memory.of(item)

    def apply(self, state: _Tally, change: Change[Row]) -> _Tally:
        """Count."""
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
        """Packed, without the least active when there are too many."""
        total = counters.added(state.counts, counters.rows(state.changes))
        item = counters.pack(counters.bounded(total)) | memory.item()
        place = counters.place(self.bucket, self.shard, self.part)
        return [Put(*place, item, state.version, counters.expires(self.bucket))]


class Tracking:
    """The consumer of one tenant."""

    def __init__(self, ports: Ports) -> None:
        self._records = ports.records
        self._letters = DeadLetters(ports.blobs)
        self._meter = ports.meter
        self._clock = ports.clock

    def follow(self, batch: Sequence[Arrival]) -> int | None:
        """Let viewers, then videos, follow records of one shard, in order of their position.

        Returns:
            the position of the first record that must be delivered again; None when all is done.
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
        """Videos follow only what counted for a viewer; see `vireo.projection` for why it may."""
        parts: dict[Videos, list[Change[Row]]] = {}
        for change in changes:
            bucket = int(change.arrival.arrived // counters.BUCKET)
            part = key_of(change.what.video_id) % PARTS
            # By position alone: the identity was judged with the viewer.
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
