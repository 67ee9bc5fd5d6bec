"""Bytes that a poll of what is hot reads, in the process that publishes it and in all others.

``python -m tests.bench.hot``: every record of the counters is full. A minute of one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tests.worlds import bundle, catalogue
from vireo.catalogue.counters import BUCKET, COUNTS, DTYPE, PAIRS, PARTS, PLACED, pack, place
from vireo.homes.clock import MovableClock
from vireo.homes.items import pack as packed
from vireo.homes.local import LocalHome
from vireo.ports import Item
from vireo.recommender.hot_record import EVERY, HotRecord

NOW = 1_700_000_000.0 // BUCKET * BUCKET + BUCKET / 2


class Weighed:
    """Records that note how many bytes are read."""

    def __init__(self, records: Any) -> None:
        self._records = records
        self.bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)

    def query(self, *given: Any, **named: Any) -> Any:
        """As the port does."""
        page = self._records.query(*given, **named)
        self.bytes += sum(len(packed(record.item)) for record in page.records)
        return page


def full(seed: int) -> Item:
    """A full record, whose counts have a long tail."""
    rng = np.random.default_rng(seed)
    table = np.zeros(PAIRS, DTYPE)
    videos = np.random.default_rng(1).integers(2**63, size=20_000, dtype=np.uint64)
    table["video"] = np.sort(rng.choice(videos, PAIRS))
    table["country"] = rng.choice([b"DE", b"US", b"FR", b"BR", b"IN"], PAIRS)
    volume = rng.zipf(1.3, PAIRS).clip(0, 500)
    attention = 1 / (1 + np.arange(DTYPE["views"].shape[0]))
    for name, often in zip(PLACED, (1.0, 0.1), strict=True):
        table[name] = rng.poisson(often * volume[:, None] * attention)
    for name in COUNTS:
        table[name] = rng.poisson(0.2 * volume)
    return pack(table)


def main() -> None:
    """Fill, poll, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=4, help="of the stream")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        ports = LocalHome(Path(folder), clock=MovableClock(NOW)).open("bench")
        for bucket in range(28):
            for shard in range(options.shards):
                for part in range(PARTS):
                    seed = (bucket * 100 + shard) * 10 + part
                    where = place(int(NOW // BUCKET) - bucket, f"shard-{shard}", part)
                    ports.records.put(*where, full(seed))
        publisher, reader = Weighed(ports.records), Weighed(ports.records)
        # The bundle has none of these videos, so as many are published as can be.
        made = bundle(catalogue(60))
        one, other = (HotRecord(records, made) for records in (publisher, reader))
        one.poll(NOW)
        print(f"start of a process that publishes: {publisher.bytes:,} bytes")
        publisher.bytes = 0
        one.poll(NOW + EVERY)
        print(f"a poll that publishes (every process, before): {publisher.bytes:,} bytes")
        other.poll(NOW + EVERY)
        print(f"any other poll: {reader.bytes:,} bytes")


if __name__ == "__main__":
    main()
