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
from vireo.homes.items import pack
from vireo.homes.local import LocalHome
from vireo.homes.local.mapping import EventSourceMapping
from vireo.ports import Arrival, Ports, Table
from vireo.projection import WINDOW
from vireo.viewers.rows import SETTLE, whole
from vireo.viewers.viewer import Event, EventType, Viewer, apply

EVENTS = 20_000
#: Events of a viewer's past.
PASTS = (1, 1_000, 100_000)
#: Viewers of every past.
_VIEWERS = 20


@dataclass(frozen=True)
class Cost:
    """Of one event of a viewer."""

    microseconds: float  #: of CPU, settling included
    bytes: int  #: of the viewer's rows


@dataclass(frozen=True)
class Feedback:
    """CPU figures of the consumer on a laptop, its store included."""

    per_second: dict[str, float]  #: events a second and core, by how they are spread
    costs: dict[int, Cost]  #: of one event, by how many its viewer has had before


def measure() -> Feedback:
    """All of it; about half a minute."""
    per_second = {f"{users:,} viewers": throughput(users) for users in (EVENTS // 4, EVENTS // 200)}
    return Feedback(per_second, one_more())


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


def one_more() -> dict[int, Cost]:
    """What an event costs that is alone in its batch, by how many its viewer has had before.

    Viewers of all pasts are followed in turns, so that what else the machine does hits them alike,
    each from one settlement to the next (`vireo.viewers.rows.SETTLE`).
    """
    with TemporaryDirectory() as folder:
        home = LocalHome(Path(folder), clock=MovableClock(START + 3600))
        ports = home.open("default")
        tracking = Tracking(ports)
        for past in PASTS:
            before = (Event(EventType.WATCH, j, START - 1e6 + j) for j in range(past))
            viewer = apply(Viewer(), before)
            for name in _names(past):
                ports.records.write(whole(name, viewer))
                tracking.follow([_event(name, j) for j in range(1, min(past, WINDOW) + 1)])
        spent: dict[int, list[float]] = {past: [] for past in PASTS}
        for number in range(2_000, 2_000 + SETTLE):
            for names in zip(*map(_names, PASTS), strict=True):
                for past, name in zip(PASTS, names, strict=True):
                    batch = [_event(name, number)]
                    began = time.process_time()
                    tracking.follow(batch)
                    spent[past].append(1e6 * (time.process_time() - began))
        found = {past: Cost(float(np.mean(spent[past])), _bytes(ports, past)) for past in PASTS}
        home.close()
    return found


def _bytes(ports: Ports, past: int) -> int:
    records = ports.records.query(Table.VIEWERS, _names(past)[0]).records
    return sum(len(pack(record.item)) for record in records)


def _names(past: int) -> list[str]:
    return [f"viewer-{past}-{j}" for j in range(_VIEWERS)]


def _event(user: str, number: int) -> Arrival:
    row = {
        "event_id": f"e{number}",
        "user_id": user,
        "video_id": f"w{number}",
        "type": "watch",
        "timestamp": START + number,
    }
    return Arrival(user, payload(row), "shard-0", number, START + number)


if __name__ == "__main__":
    print(measure())
