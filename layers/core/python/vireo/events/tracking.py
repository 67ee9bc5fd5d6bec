"""Follows the stream of events: viewers change by it, and so do the hot counters of videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from vireo import counters
from vireo.counters import COUNTS, PARTS
from vireo.events.models import EventRow as Row
from vireo.events.models import Exposure, Refusal, checked
from vireo.keys import key_of
from vireo.ports import Item, Ports, Records, Table, Unavailable
from vireo.projection import Arrival, Change, DeadLetters, Followed, Poison, advance, follow
from vireo.viewer import EventType, Viewer, apply, is_positive


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


@dataclass(frozen=True)
class _Known:
    """A viewer, and the moment up to which nothing is known of them any more."""

    viewer: Viewer
    erased: float | None


@dataclass(frozen=True)
class Viewers:
    """Viewers follow what they do."""

    records: Records

    def place(self, key: str) -> tuple[Table, str, str]:
        """A viewer's record is what the request path reads."""
        return Table.VIEWERS, key, ""

    def begin(self, key: str, item: Item | None) -> _Known:
        """The viewer. One without a memory may have been erased: the note says until when."""
        if item is not None and "position" in item:
            return _Known(Viewer.unpack(item["viewer"]), item["erased"])
        note = self.records.get(Table.REGISTRY, "erased", f"{key_of(key):016x}")
        viewer = Viewer() if item is None else Viewer.unpack(item["viewer"])
        return _Known(viewer, None if note is None else float(note.item["at"]))

    def apply(self, state: _Known, change: Change[Row]) -> _Known:
        """What an erased person did before they asked for it stays forgotten."""
        row = change.what
        if state.erased is not None and row.timestamp <= state.erased:
            return state
        return _Known(apply(state.viewer, row.happened()), state.erased)

    def item(self, state: _Known) -> tuple[Item, float | None]:
        """One packed row."""
        return {"viewer": state.viewer.pack(), "erased": state.erased}, None


@dataclass
class _Tally:
    """Counts, and what is to be added to them."""

    counts: counters.Counts
    changes: dict[tuple[int, bytes], list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Videos:
    """The counters of one bucket of time, one shard and one part of the videos follow events."""

    bucket: int
    shard: str
    part: int

    def place(self, key: str) -> tuple[Table, str, str]:
        """See `vireo.counters`."""
        return counters.place(self.bucket, self.shard, self.part)

    def begin(self, key: str, item: Item | None) -> _Tally:
        """What was counted so far."""
        return _Tally(counters.unpack(item))

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

    def item(self, state: _Tally) -> tuple[Item, float | None]:
        """Packed, without the least active when there are too many."""
        total = counters.added(state.counts, counters.rows(state.changes))
        return counters.pack(counters.bounded(total)), counters.expires(self.bucket)


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
            parts.setdefault(Videos(bucket, change.arrival.shard, part), []).append(counted)
        for projection, counted_here in parts.items():
            advance(self._records, projection, "", counted_here, self._letters.bury)

    def _tell(self, batch: Sequence[Arrival], done: Followed[Row], failed: int | None) -> None:
        self._meter.count("EventsFollowed", len(done.counted))
        self._meter.count("EventsRepeated", done.repeated)
        self._meter.count("DeadLetters", done.buried)
        self._meter.count("TrackingFailed", int(failed is not None))
        lag = self._clock.now() - min(arrival.arrived for arrival in batch)
        self._meter.observe("TrackingLag", 1e3 * lag, "Milliseconds")
