"""Hot counters of videos: what the stream's consumer writes and what snapshots poll.

Counts lie in buckets of six hours of arrival, each in a few records (by shard of the stream, so
that one consumer writes a record, and by part of the videos, so that none grows large).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vireo.ports import Item, Records, Table

#: Length of a bucket, lifetime of a bucket, and the time for which it is hot, in seconds.
BUCKET, KEPT, HOT = 21_600.0, 8 * 86_400.0, 7 * 86_400.0
#: Number of records among which the videos of a bucket are divided.
PARTS = 4
#: A record keeps so many (video, country) pairs; the least active are forgotten. 92 KB.
PAIRS = 3072
COUNTS = ("positives", "watches", "likes", "impressions", "clicks")
DTYPE = np.dtype([("video", "<u8"), ("country", "S2"), *((name, "<u4") for name in COUNTS)])
#: A structured array, one row for every (video, country), ordered by them; b"" is no country.
Counts = NDArray[Any]


def place(bucket: int, shard: str, part: int) -> tuple[Table, str, str]:
    """Table, key and sort key of the counts of a bucket, a shard and a part of the videos."""
    return Table.OVERLAY, f"counts#{bucket}", f"{shard}#{part}"


def expires(bucket: int) -> float:
    """Unix seconds after which a bucket is no longer needed."""
    return (bucket + 1) * BUCKET + KEPT


def empty() -> Counts:
    """No counts."""
    return np.zeros(0, DTYPE)


def rows(changes: Mapping[tuple[int, bytes], list[int]]) -> Counts:
    """A table of counts by (key of the video, country); in any order."""
    made = np.zeros(len(changes), DTYPE)
    for j, ((video, country), counts) in enumerate(changes.items()):
        made[j] = (video, country, *counts)
    return made


def added(*tables: Counts) -> Counts:
    """The sum of the arguments, with one row for each pair and each cell."""
    together = np.concatenate([empty(), *tables])
    order = np.lexsort((together["country"], together["video"]))
    ordered = together[order]
    if not len(ordered):
        return ordered
    new = np.ones(len(ordered), bool)
    new[1:] = (ordered["video"][1:] != ordered["video"][:-1]) | (
        ordered["country"][1:] != ordered["country"][:-1]
    )
    starts = np.flatnonzero(new)
    total = ordered[starts]
    for name in COUNTS:
        total[name] = np.add.reduceat(ordered[name], starts)
    return total


def bounded(table: Counts, pairs: int = PAIRS) -> Counts:
    """The most active pairs of a table, in its order."""
    if len(table) <= pairs:
        return table
    activity = sum(table[name].astype(np.int64) for name in COUNTS)
    kept = np.lexsort((np.arange(len(table)), -np.asarray(activity)))[:pairs]
    return table[np.sort(kept)]


def pack(table: Counts) -> Item:
    """The item of a record."""
    return {"counts": table.tobytes()}


def unpack(item: Item | None) -> Counts:
    """The inverse of `pack`; nothing from no item."""
    return empty() if item is None else np.frombuffer(item["counts"], DTYPE)


class Reader:
    """The hot counts as seen by one process. Closed buckets are read once."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._buckets: dict[int, Counts] = {}
        self._read_at = -np.inf

    def poll(self, now: float) -> None:
        """Read what was written since the last poll. Buckets that were open then are read again."""
        last = int(now // BUCKET)
        first = int((now - HOT) // BUCKET) + 1
        # An event that arrived at the end of a bucket may be counted a while later.
        open_since = int((self._read_at - BUCKET) // BUCKET) if self._read_at > 0 else first
        self._buckets = {b: t for b, t in self._buckets.items() if b >= first}
        for bucket in range(first, last + 1):
            if bucket not in self._buckets or bucket >= open_since:
                self._buckets[bucket] = self._bucket(bucket)
        self._read_at = now

    def _bucket(self, bucket: int) -> Counts:
        page = self._records.query(Table.OVERLAY, f"counts#{bucket}")
        return added(*(unpack(record.item) for record in page.records))

    def total(self, since: float = -np.inf) -> Counts:
        """The sum of the hot buckets that end after ``since``."""
        wanted = [t for b, t in sorted(self._buckets.items()) if (b + 1) * BUCKET > since]
        return added(*wanted)


def by_video(table: Counts, country: str | None = None) -> Counts:
    """Counts by video: of one country, or summed over all."""
    if country is not None:
        there: Counts = table[table["country"] == country.encode()]
        return there
    everywhere = table.copy()
    everywhere["country"] = b""
    return added(everywhere)


def click_rate(table: Counts, prior: float = 20.0) -> NDArray[np.float64]:
    """Clicks per impression, shrunk as training does it (`training.data.activity`)."""
    shown, clicks = table["impressions"].astype(float), table["clicks"].astype(float)
    if not shown.sum():
        return np.full(len(table), np.nan)
    overall = min(1.0, clicks.sum() / shown.sum())
    rate: NDArray[np.float64] = (clicks + prior * overall) / (np.maximum(shown, clicks) + prior)
    return rate
