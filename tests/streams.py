"""Streams of events as tests want them: repeated, out of order, and partly poisoned."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.oracles_events import payload
from vireo.viewers.viewer import EventType

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
