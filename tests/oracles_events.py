"""Slow, obvious answers to what a stream of events leaves: distinct good events, one by one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from vireo.catalogue.counters import BUCKET, CELLS, key, unpack
from vireo.catalogue.places import FIRST
from vireo.events.models import EventRow
from vireo.ports import Arrival, Records, Table
from vireo.viewers import rows
from vireo.viewers.viewer import EventType, Viewer, apply, is_positive


def payload(row: dict[str, Any]) -> bytes:
    return orjson.dumps(row)


def distinct(arrivals: Iterable[Arrival]) -> list[tuple[Arrival, EventRow]]:
    """Good events, the first of every (user, event id)."""
    seen, found = set(), []
    for arrival in arrivals:
        try:
            row = EventRow.model_validate(orjson.loads(arrival.payload))
        except ValueError:
            continue
        if (row.user_id, row.event_id) not in seen and row.user_id == arrival.key:
            seen.add((row.user_id, row.event_id))
            found.append((arrival, row))
    return found


def viewers(events: Iterable[tuple[Arrival, EventRow]]) -> dict[str, Viewer]:
    """Every viewer after their events, in order of the events' own time."""
    made: defaultdict[str, Viewer] = defaultdict(Viewer)
    for _, row in sorted(events, key=lambda e: e[1].timestamp):
        made[row.user_id] = apply(made[row.user_id], [row.happened()])
    return dict(made)


def told(viewer: Viewer) -> dict[str, Any]:
    """All that a viewer's record says, but for the order in which videos became known."""
    return {
        "history": sorted(zip(viewer.times.tolist(), viewer.keys.tolist(), strict=True)),
        "watched": sorted(viewer.watched.tolist()),
        "watches": viewer.watches,
        "seconds": round(viewer.seconds, 3),
        "counts": (viewer.impressions, viewer.clicks, viewer.likes, viewer.skips),
    }


Cell = tuple[int, int, bytes, Any]


def counts(events: Iterable[tuple[Arrival, EventRow]]) -> Counter[Cell]:
    """By bucket, video, country and what is counted; an event that came first is the view."""
    found: Counter[Cell] = Counter()
    viewed = set()
    for arrival, row in events:
        event, place = row.happened(), _group(row.position)
        pair = int(arrival.arrived // BUCKET), event.video, (row.country or "").encode()
        if (name := _KINDS.get(event.type)) is not None:
            found[*pair, (name, place) if name == "impressions" else name] += 1
        if is_positive(event) and (row.user_id, event.video) not in viewed:
            viewed.add((row.user_id, event.video))
            found[*pair, ("views", place)] += 1
    return found


_KINDS = {
    EventType.WATCH: "watches",
    EventType.LIKE: "likes",
    EventType.COMMENT: "likes",
    EventType.SHARE: "likes",
    EventType.IMPRESSION: "impressions",
    EventType.CLICK: "clicks",
}


def _group(place: int | None) -> int:
    if place is None:
        return len(FIRST)
    return max(j for j, first in enumerate(FIRST) if place >= first)


def stored_counts(records: Records, buckets: Iterable[int]) -> Counter[Cell]:
    """What the counters' records say, row by row."""
    found: Counter[Cell] = Counter()
    for bucket in buckets:
        for record in records.query(Table.OVERLAY, key(bucket)).records:
            for row in unpack(record.item):
                pair = bucket, int(row["video"]), bytes(row["country"])
                for cell in CELLS:
                    name, at = (cell, ...) if isinstance(cell, str) else cell
                    found[*pair, cell] += int(row[name][at])
    return +found


def stored_viewers(records: Records, users: Iterable[str]) -> dict[str, Viewer]:
    found = {}
    for user in users:
        viewer = rows.read(records, user)
        if viewer is not None:
            found[user] = viewer
    return found


def assert_followed(records: Records, arrivals: Sequence[Arrival]) -> int:
    """Everything is as the distinct good events say; returns how many those are."""
    good = distinct(arrivals)
    expected = viewers(good)
    got = stored_viewers(records, {a.key for a in arrivals})
    assert got.keys() == expected.keys()
    for user, viewer in expected.items():
        assert told(got[user]) == told(viewer), user
    buckets = {int(a.arrived // BUCKET) for a in arrivals}
    assert stored_counts(records, buckets) == counts(good)
    return len(good)
