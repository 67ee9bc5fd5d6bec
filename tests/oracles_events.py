"""Slow, obvious answers to what a stream of events leaves: distinct good events, one by one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from vireo.catalogue.counters import BUCKET, COUNTS
from vireo.events.models import EventRow
from vireo.ports import Arrival, Records, Table
from vireo.viewers import rows
from vireo.viewers.viewer import Event, EventType, Viewer, apply, is_positive


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


def counts(events: Iterable[tuple[Arrival, EventRow]]) -> Counter[tuple[int, int, bytes, str]]:
    """By bucket, video, country and what is counted."""
    found: Counter[tuple[int, int, bytes, str]] = Counter()
    for arrival, row in events:
        event = row.happened()
        pair = int(arrival.arrived // BUCKET), event.video, (row.country or "").encode()
        for name, yes in zip(COUNTS, _told(event), strict=True):
            found[*pair, name] += yes
    return +found


def _told(event: Event) -> Sequence[bool]:
    kind = event.type
    return (
        is_positive(event),
        kind is EventType.WATCH,
        kind in {EventType.LIKE, EventType.COMMENT, EventType.SHARE},
        kind is EventType.IMPRESSION,
        kind is EventType.CLICK,
    )


def stored_counts(records: Records, buckets: Iterable[int]) -> Counter[tuple[int, int, bytes, str]]:
    """What the counters' records say, row by row."""
    from vireo.catalogue.counters import DTYPE

    found: Counter[tuple[int, int, bytes, str]] = Counter()
    for bucket in buckets:
        for record in records.query(Table.OVERLAY, f"counts#{bucket}").records:
            for row in np.frombuffer(record.item["counts"], DTYPE):
                for name in COUNTS:
                    found[bucket, int(row["video"]), bytes(row["country"]), name] += int(row[name])
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
