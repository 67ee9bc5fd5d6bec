"""Streams of events as tests want them: repeated, out of order, and partly poisoned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from hypothesis import strategies as st

from delivery.app import transform
from tests.oracles_events import payload, stored_viewers
from vireo.events.parquet import as_parquet
from vireo.events.tracking import Tracking
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.homes.local.delivery import ROWS, Delivery
from vireo.ports import Arrival, Blobs, Ports
from vireo.viewers.viewer import (
    Event,
    EventType,
    Viewer,
)

START = 1_700_000_000.0
KINDS = tuple(EventType)


def stream(
    n: int,
    *,
    seed: int,
    users: int = 50,
    videos: int = 200,
    repeats: float = 0.05,
    poison: float = 0.001,
    late: float = 60.0,
    start: float = START,
    rate: float = 20.0,
) -> list[tuple[str, bytes, float]]:
    """(key, payload, arrival) of n distinct good events and more.

    Events happen ``rate`` a second at distinct times and arrive up to ``late`` seconds later, so
    that they are out of order within that; a share of them comes twice, a few seconds apart; a
    share of what comes is nothing that can be read.
    """
    rng = np.random.default_rng(seed)
    times = start + np.arange(n) / rate
    user, video = rng.integers(0, users, n), rng.integers(0, videos, n)
    kind = rng.choice(len(KINDS), n, p=[0.35, 0.15, 0.35, 0.04, 0.02, 0.02, 0.05, 0.02])
    seconds, fraction = rng.integers(0, 240, n) / 4, rng.integers(0, 5, n) / 4
    country = rng.choice(["DE", "US", ""], n)
    place = rng.integers(-10, 40, n)
    arrives = times + rng.uniform(0, late, n)
    found: list[tuple[float, str, bytes]] = []
    again = rng.uniform(size=n) < repeats
    bad = rng.uniform(size=n) < poison
    for j in range(n):
        key = f"u{user[j]}"
        row: dict[str, Any] = {
            "event_id": f"e{j}",
            "user_id": key,
            "video_id": f"v{video[j]}",
            "type": KINDS[kind[j]].value,
            "timestamp": float(times[j]),
        }
        if row["type"] == "watch" and j % 7:
            row |= {"watch_seconds": float(seconds[j]), "watch_fraction": float(fraction[j])}
        if place[j] >= 0:
            row["position"] = int(place[j])
        if country[j]:
            row["country"] = str(country[j])
        found.append((arrives[j], key, payload(row)))
        if again[j]:
            found.append((arrives[j] + rng.uniform(0, 20), key, payload(row)))
        if bad[j]:
            found.append((arrives[j], key, BAD[j % len(BAD)]))
    found.sort(key=lambda record: record[0])
    return [(key, data, float(arrived)) for arrived, key, data in found]


BAD = (
    b"\xff\xfe",
    b"{",
    b"[]",
    b"null",
    b'{"event_id": "x"}',
    b'{"event_id":"x","user_id":"nobody","video_id":"v","type":"watch","timestamp":1700000000}',
    b'{"type": "exposure"}',
)


def one(position: int, key: str = "anna", **more: Any) -> Arrival:
    row = {
        "event_id": f"e{position}",
        "user_id": key,
        "video_id": f"v{position}",
        "type": "watch",
        "timestamp": START + position,
    } | more
    return Arrival(key, payload(row), "shard-0", position, START + position)


def stored(ports: Ports, user: str = "anna") -> Viewer:
    return stored_viewers(ports.records, [user])[user]


class Died(BaseException):
    """The process is gone."""


class Fragile:
    """Records that do what ``fate`` says before and after each call: nothing, or raise."""

    def __init__(self, records: Any, fate: Callable[[str, str], None]) -> None:
        self._records, self._fate = records, fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._records, name)

        def call(*given: Any, **named: Any) -> Any:
            self._fate("before", name)
            result = method(*given, **named)
            self._fate("after", name)
            return result

        return call


def deliver(ports: Ports, records: Sequence[Arrival], size: int, fate: Any = None) -> int:
    """As Lambda does: batches in order, again from the first failure; returns deaths."""
    deaths, start = 0, 0
    fragile = ports if fate is None else replace(ports, records=Fragile(ports.records, fate))
    tracking = Tracking(fragile)
    while start < len(records):
        batch = records[start : start + size]
        try:
            failed = tracking.follow(batch)
        except Died:
            deaths, tracking = deaths + 1, Tracking(fragile)
            continue
        if failed is None:
            start += len(batch)
        else:
            start += [a.position for a in batch].index(failed)
    return deaths


EVENTS = st.builds(
    Event,
    st.sampled_from(list(EventType)),
    st.integers(0, 30) | st.integers(2**63, 2**64 - 1),
    st.floats(0, 4e9),
    st.just(math.nan) | st.floats(0, 1e5),
    st.just(math.nan) | st.floats(0, 1),
)


def fill(home: LocalHome, n: int, tenant: str = "default", **more: Any) -> list[Arrival]:
    """A stream on the log, each record at its time of arrival; the clock stands at the end."""
    clock = home.clock
    assert isinstance(clock, MovableClock)
    for key, data, arrived in stream(n, seed=n, videos=40, **more):
        clock.advance(max(0.0, arrived - clock.now()))
        assert home.open(tenant).stream.publish([(key, data)]) == [None]
    return logged(home, tenant)


def logged(home: LocalHome, tenant: str = "default") -> list[Arrival]:
    return [
        Arrival(r.key, r.payload, f"shardId-{shard:012d}", r.sequence, r.arrived)
        for shard in range(home.log.shards)
        for r in home.log.read(shard, limit=10**6)
        if r.tenant == tenant
    ]


def delivery(home: LocalHome, folder: Path, rows: int = ROWS) -> Delivery:
    def blobs(tenant: str) -> Blobs:
        return home.open(tenant).blobs

    return Delivery(
        home.log,
        folder,
        transform=transform,
        convert=as_parquet,
        blobs=blobs,
        clock=home.clock,
        rows=rows,
    )


def files(ports: Ports) -> dict[str, list[dict[str, Any]]]:
    return {
        name: pq.read_table(BytesIO(ports.blobs.read(name))).to_pylist()
        for name in ports.blobs.names("events/")
    }
