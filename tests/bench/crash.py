"""The consumer, killed at random: nothing may be lost, and nothing may count twice.

A stream with repeats, events out of order by up to a minute and poison is followed by processes
that die by SIGKILL. What they leave is compared with the distinct good events, applied one by one.
`python -m tests.bench.crash` does it with a million; the test suite with fewer.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq

from delivery.app import transform
from tests.oracles_events import assert_followed, distinct
from tests.streams import BAD, START, stream
from tracking.app import follower
from vireo.events.parquet import as_parquet
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.homes.local.delivery import Delivery
from vireo.homes.local.loop import Position
from vireo.homes.local.mapping import EventSourceMapping
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Blobs

TENANT = "default"


@dataclass(frozen=True)
class Outcome:
    """What was done; that it was right was asserted."""

    records: int  #: that were on the stream
    good: int  #: distinct good events among them
    poison: int  #: each in the dead-letter place
    kills: int
    seconds: float  #: until all was followed, deaths included


def fill(home: LocalHome, n: int, seed: int) -> None:
    """n distinct good events and what comes with them, on the log."""
    clock = home.clock
    assert isinstance(clock, MovableClock)
    users, videos = max(20, n // 200), max(50, n // 500)
    records = stream(n, seed=seed, users=users, videos=videos)
    for start in range(0, len(records), 100):
        chunk = records[start : start + 100]
        clock.advance(max(0.0, chunk[-1][2] - clock.now()))
        home.log.append(TENANT, [(key, data) for key, data, _ in chunk])


def logged(home: LocalHome) -> Iterator[Arrival]:
    """All that is on the log."""
    for shard in range(home.log.shards):
        after = 0
        while records := home.log.read(shard, after):
            after = records[-1].sequence
            for r in records:
                yield Arrival(r.key, r.payload, f"shardId-{shard:012d}", r.sequence, r.arrived)


def loops(home: LocalHome) -> tuple[EventSourceMapping, Delivery]:
    """What `make local` runs beside the API."""
    folder = home.folder / "stream"

    def blobs(tenant: str) -> Blobs:
        return home.open(tenant).blobs

    return (
        EventSourceMapping(home.log, folder / "tracking", follower(home)),
        Delivery(
            home.log,
            folder / "collected",
            transform=transform,
            convert=as_parquet,
            blobs=blobs,
            clock=home.clock,
            rows=5_000,
        ),
    )


def follow(folder: Path) -> None:
    """In a process of its own: until everything is done."""
    home = LocalHome(folder, clock=MovableClock(START))
    mapping, delivery = loops(home)
    while mapping.step() != (0, False):
        if random.random() < 0.02:
            delivery.step(flush=True)
    delivery.step(flush=True)


def progress(home: LocalHome) -> int:
    """How far the consumer is, in bytes of the log."""
    folder = home.folder / "stream" / "tracking"
    places = [folder / f"shard-{shard:04d}.position" for shard in range(home.log.shards)]
    return sum(
        max(0, Position(place).value - home.log.begin(shard)) for shard, place in enumerate(places)
    )


def run(folder: Path, *, events: int, kills: int, seed: int) -> Outcome:
    """Fill, follow with deaths, and compare. Raises AssertionError."""
    home = LocalHome(folder, clock=MovableClock(START))
    fill(home, events, seed)
    shards = range(home.log.shards)
    end = sum(home.log.size(shard) - home.log.begin(shard) for shard in shards)
    rng = random.Random(seed)
    deaths = sorted(rng.uniform(0, 0.95) * end for _ in range(kills))
    began = time.monotonic()
    done = 0
    while True:
        command = [sys.executable, "-m", "tests.bench.crash", "--follow", str(folder)]
        paths = os.pathsep.join(sys.path)
        child = subprocess.Popen(
            command, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        )
        if done == kills:
            assert child.wait() == 0
            break
        while progress(home) < deaths[done] and child.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))  # anywhere in a batch, or while it starts
        assert child.poll() is None, "it ended before it was killed"
        child.send_signal(signal.SIGKILL)
        child.wait()
        done += 1
    seconds = time.monotonic() - began
    arrivals = list(logged(home))
    ports = home.open(TENANT)
    good = assert_followed(ports.records, arrivals)
    letters = {(a.key, a.position, a.payload) for _, a, _ in DeadLetters(ports.blobs).all()}
    poison = {(a.key, a.position, a.payload) for a in arrivals if a.payload in BAD}
    assert letters == poison
    _assert_collected(ports.blobs, arrivals)
    home.close()
    return Outcome(len(arrivals), good, len(poison), kills, seconds)


def _assert_collected(blobs: Blobs, arrivals: list[Arrival]) -> None:
    """Every record that is an event lies in the files exactly as often as on the stream."""
    wanted = [row.event_id for a in arrivals for _, row in distinct([a])]
    found: list[str] = []
    for name in blobs.names("events/"):
        table = pq.read_table(BytesIO(blobs.read(name)), columns=["event_id"])
        found += table["event_id"].to_pylist()
    assert sorted(found) == sorted(wanted)


def main() -> None:
    """Follow, or measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a new one, for the home that is filled")
    parser.add_argument("--follow", action="store_true", help="be one of the processes")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.follow:
        follow(options.folder)
    else:
        print(run(options.folder, events=options.events, kills=options.kills, seed=options.seed))


if __name__ == "__main__":
    main()
