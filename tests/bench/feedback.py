"""How many events a core follows in a second, and what one costs a viewer with a long past."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.oracles_events import payload
from tests.streams import START, stream
from tracking.app import follower
from vireo.events.tracking import Tracking
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.homes.local_mapping import EventSourceMapping
from vireo.ports import Table
from vireo.projection import Arrival
from vireo.viewer import Event, EventType, Viewer, apply

EVENTS = 20_000
#: Events of a viewer's past.
PASTS = (1, 1_000, 100_000)
_TIMES = 300


@dataclass(frozen=True)
class Feedback:
    """CPU figures of the consumer on a laptop, its store included."""

    per_second: dict[str, float]  #: events a second and core, by how they are spread
    microseconds: dict[int, float]  #: of one event, by how many a viewer has had before
    bytes: dict[int, int]  #: of that viewer's record


def measure() -> Feedback:
    """All of it; about half a minute."""
    per_second = {f"{users:,} viewers": throughput(users) for users in (EVENTS // 4, EVENTS // 200)}
    costs = {past: one_more(past) for past in PASTS}
    return Feedback(
        per_second,
        {past: cost for past, (cost, _) in costs.items()},
        {past: size for past, (_, size) in costs.items()},
    )


def throughput(users: int) -> float:
    """Events a second of CPU, read from the log and followed, as the laptop does it."""
    with TemporaryDirectory() as folder:
        home = LocalHome(Path(folder), clock=MovableClock(START + 3600))
        records = stream(EVENTS, seed=1, users=users, videos=2_000)
        for start in range(0, len(records), 500):
            chunk = records[start : start + 500]
            home.log.append("default", [(key, data) for key, data, _ in chunk])
        mapping = EventSourceMapping(home.log, Path(folder) / "p", follower(home))
        began = time.process_time()
        while mapping.step() != (0, False):
            pass
        spent = time.process_time() - began
        home.close()
    return len(records) / spent


def one_more(past: int) -> tuple[float, int]:
    """Microseconds of CPU (median) of an event alone in its batch, and the record's bytes."""
    viewer = Viewer()
    for j in range(past):
        viewer = apply(viewer, Event(EventType.WATCH, j, START - 1e6 + j))
    with TemporaryDirectory() as folder:
        home = LocalHome(Path(folder), clock=MovableClock(START + 3600))
        ports = home.open("default")
        ports.records.put(Table.VIEWERS, "anna", "", {"viewer": viewer.pack()})
        tracking = Tracking(ports)
        tracking.follow([_event(j) for j in range(1, min(past, 1_000) + 1)])
        spent = []
        for j in range(2_000, 2_000 + _TIMES):
            batch = [_event(j)]
            began = time.process_time()
            tracking.follow(batch)
            spent.append(time.process_time() - began)
        record = ports.records.get(Table.VIEWERS, "anna")
        assert record is not None
        size = len(record.item["viewer"]) + len(record.item["seen"])
        home.close()
    return 1e6 * float(np.median(spent)), size


def _event(number: int) -> Arrival:
    row = {
        "event_id": f"e{number}",
        "user_id": "anna",
        "video_id": f"w{number}",
        "type": "watch",
        "timestamp": START + number,
    }
    return Arrival("anna", payload(row), "shard-0", number, START + number)


if __name__ == "__main__":
    print(measure())
