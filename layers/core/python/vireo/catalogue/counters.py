"""Hot counters of videos: what the stream's consumer writes and one process of many reads.

Counts lie in buckets of six hours of arrival, each in a few records (by shard of the stream, so
that one consumer writes a record, and by part of the videos, so that none grows large). They hold
whole numbers by place, not weights: how much a place counts is known to bundles only, and a reader
weighs by its own (`vireo.recommender.counted`).
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.places import GROUPS
from vireo.ports import Item, Record, Records, Table, walk

log = logging.getLogger(__name__)

#: Length of a bucket, lifetime of a bucket, and the time for which it is hot, in seconds.
BUCKET, KEPT, HOT = 21_600.0, 8 * 86_400.0, 7 * 86_400.0
#: Number of records among which the videos of a bucket are divided.
PARTS = 4
#: A record keeps so many (video, country) pairs; the least active are forgotten. About 75 KB.
PAIRS = 3072
#: The packed form. It is part of the key, so that code of another version, which serves beside this
#: one while a release is shifted, never meets it.
FORM = 2
#: Counts by pair, and those by pair and group of places. A view is a viewer's first positive event.
COUNTS, PLACED = ("watches", "likes", "clicks"), ("impressions", "views")
DTYPE = np.dtype(
    [
        ("video", "<u8"),
        ("country", "S2"),
        *((name, "<u4") for name in COUNTS),
        *((name, "<u4", (GROUPS,)) for name in PLACED),
    ]
)
#: A structured array, one row for every (video, country), ordered by them; b"" is no country.
Counts = NDArray[Any]
#: What is counted, and in which group of places: the columns of a flat row of counts.
CELLS = (*COUNTS, *((name, group) for name in PLACED for group in range(GROUPS)))


def key(bucket: int) -> str:
    """The key under which a bucket's records lie."""
    return f"counts{FORM}#{bucket}"


def place(bucket: int, shard: str, part: int) -> tuple[Table, str, str]:
    """Table, key and sort key of the counts of a bucket, a shard and a part of the videos."""
    return Table.OVERLAY, key(bucket), f"{shard}#{part}"


def expires(bucket: int) -> float:
    """Unix seconds after which a bucket is no longer needed."""
    return (bucket + 1) * BUCKET + KEPT


def empty() -> Counts:
    """No counts."""
    return np.zeros(0, DTYPE)


def rows(changes: Mapping[tuple[int, bytes], list[int]]) -> Counts:
    """A table of counts, in the order of `CELLS`, by (key of the video, country); in any order."""
    made = np.zeros(len(changes), DTYPE)
    for j, ((video, country), counts) in enumerate(changes.items()):
        impressions = len(COUNTS) + GROUPS
        made[j] = (
            video,
            country,
            *counts[: len(COUNTS)],
            counts[len(COUNTS) : impressions],
            counts[impressions:],
        )
    return made


def activity(table: Counts) -> NDArray[np.int64]:
    """The number of all that is counted, by row."""
    total = np.zeros(len(table), np.int64)
    for name in (*COUNTS, *PLACED):
        total += table[name].reshape(len(table), -1).sum(axis=1, dtype=np.int64)
    return total


def added(*tables: Counts) -> Counts:
    """The sum of the arguments, with one row for each pair and each cell."""
    together = np.concatenate([empty(), *tables])
    video, country = together["video"], together["country"]
    order = np.lexsort((country, video))
    video, country = video[order], country[order]
    new = np.ones(len(order), bool)
    new[1:] = (video[1:] != video[:-1]) | (country[1:] != country[:-1])
    total, more = together[order[new]], together[order[~new]]
    pair = (np.cumsum(new) - 1)[~new]
    for name in (*COUNTS, *PLACED):
        np.add.at(total[name], pair, more[name])
    return total


def bounded(table: Counts, pairs: int = PAIRS) -> Counts:
    """The most active pairs of a table, in its order."""
    if len(table) <= pairs:
        return table
    kept = np.lexsort((np.arange(len(table)), -activity(table)))[:pairs]
    return table[np.sort(kept)]


def pack(table: Counts) -> Item:
    """The item of a record: column by column in as few bytes as hold it, compressed.

    Most counts are zero or small; what is written costs more than to compress it.
    """
    widths, columns = bytearray(), list[bytes]()
    for column in _columns(table):
        narrow = column
        if column.dtype == "<u4":
            highest = int(column.max(initial=0))
            narrow = column.astype(f"<u{next(w for w in (1, 2, 4) if highest < 256**w)}")
        widths.append(narrow.itemsize)
        columns.append(narrow.tobytes())
    return {"form": FORM, "counts": zlib.compress(b"".join([widths, *columns]), 1)}


def unpack(item: Item | None) -> Counts:
    """The inverse of `pack`; nothing from no item. Raises ValueError for another form."""
    if item is None:
        return empty()
    if item.get("form") != FORM:
        raise ValueError(f"hot counters: form {item.get('form')}, expected {FORM}")
    try:
        packed = zlib.decompress(item["counts"])
    except (KeyError, TypeError, zlib.error) as error:
        raise ValueError(f"hot counters: {error!r}") from None
    widths = packed[: len(_columns(empty()))]
    n, left = divmod(len(packed) - len(widths), sum(widths) or 1)
    if left:
        raise ValueError("hot counters: the record was cut")
    table, start = np.zeros(n, DTYPE), len(widths)
    for column, width in zip(_columns(table), widths, strict=True):
        kind = f"<u{width}" if column.dtype == "<u4" else column.dtype
        column[:] = np.frombuffer(packed, kind, n, start)
        start += n * width
    return table


def _columns(table: Counts) -> list[NDArray[Any]]:
    """Views of the columns, those of every group of places by themselves."""
    columns = [table[name] for name in ("video", "country", *COUNTS)]
    return columns + [table[name][:, group] for name in PLACED for group in range(GROUPS)]


class Reader:
    """The hot counts as seen by one process. Closed buckets are read once."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._buckets: dict[int, Counts] = {}
        self._read_at = -np.inf
        self.refused = 0  #: number of records that could not be read, so far

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
        return added(*map(self._table, walk(self._records, Table.OVERLAY, key(bucket))))

    def _table(self, record: Record) -> Counts:
        try:
            return unpack(record.item)
        except ValueError:
            log.exception("the hot counters of %s, %s, are left out", record.key, record.sort)
            self.refused += 1
            return empty()

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


def viewers(table: Counts) -> NDArray[np.int64]:
    """The number of viewers with a view, by row."""
    found: NDArray[np.int64] = table["views"].sum(axis=1, dtype=np.int64)
    return found
