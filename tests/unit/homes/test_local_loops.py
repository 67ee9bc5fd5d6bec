"""What follows the laptop's stream: the function of a mapping, and the files for training."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from delivery.app import transform
from tests.oracles_events import assert_followed
from tests.streams import BAD, START, delivery, files, fill, logged
from tests.worlds import catalogue
from tracking.app import follower
from vireo.catalogue.store import Catalogue
from vireo.events.parquet import SCHEMA, as_parquet
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.homes.local.delivery import SECONDS, Delivery
from vireo.homes.local.loop import Loop, Position, Retention
from vireo.homes.local.mapping import EventSourceMapping
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Blobs, Ports, Unavailable
from vireo.training.data.collected import read_home
from vireo.training.data.prepared import Prepared


@pytest.fixture
def home(tmp_path: Path) -> LocalHome:
    return LocalHome(tmp_path, clock=MovableClock(START))


def drained(mapping: EventSourceMapping) -> int:
    total = 0
    while (step := mapping.step()) != (0, False):
        total += step[0]
    return total


def test_the_function_follows_the_log_of_all_tenants(home: LocalHome, tmp_path: Path) -> None:
    mine, theirs = fill(home, 400, poison=0.02), fill(home, 100, "acme")
    assert drained(EventSourceMapping(home.log, tmp_path / "p", follower(home))) == len(
        mine + theirs
    )
    assert_followed(home.open("default").records, mine)
    assert_followed(home.open("acme").records, theirs)
    # Where it was is kept; a reader that begins anew finds everything known.
    assert drained(EventSourceMapping(home.log, tmp_path / "p", follower(home))) == 0
    assert drained(EventSourceMapping(home.log, tmp_path / "q", follower(home))) == len(
        mine + theirs
    )
    assert_followed(home.open("default").records, mine)


def test_a_failure_comes_again_and_what_was_done_before_it_does_not(
    home: LocalHome, tmp_path: Path
) -> None:
    for j in range(10):
        home.open("default").stream.publish([("anna", b"%d" % j)])
    calls: list[list[str]] = []

    def function(event: Mapping[str, Any], _: object) -> dict[str, Any]:
        numbers = [r["kinesis"]["sequenceNumber"] for r in event["Records"]]
        calls.append(numbers)
        failed = [numbers[7], numbers[4]] if len(calls) == 1 else []
        return {"batchItemFailures": [{"itemIdentifier": n} for n in failed]}

    mapping = EventSourceMapping(home.log, tmp_path / "p", function)
    assert mapping.step() == (4, True)
    assert mapping.step() == (6, False)
    assert calls[1] == calls[0][4:]
    assert mapping.step() == (0, False)


def test_a_record_of_no_tenant_is_a_dead_letter_of_nobody(home: LocalHome) -> None:
    record = {
        "eventID": "shardId-0:7",
        "kinesis": {
            "partitionKey": "No Tenant#anna",
            "data": "e30=",
            "sequenceNumber": "7",
            "approximateArrivalTimestamp": START,
        },
    }
    assert follower(home)({"Records": [record]}, None) == {"batchItemFailures": []}
    [(_, arrival, reason)] = DeadLetters(home.open("_system").blobs).all()
    assert (arrival.payload, reason) == (b"{}", "not a tenant: 'No Tenant'")


def test_a_loop_goes_on_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vireo.homes.local.loop.AGAIN", 0.01)
    enough = threading.Event()
    steps = 0

    def step() -> tuple[int, bool]:
        nonlocal steps
        steps += 1
        if steps == 1:
            raise OSError("disk full")
        if steps == 4:
            enough.set()
        return 0, steps == 2

    loop = Loop(step, idle=0.01)
    loop.start()
    assert enough.wait(10)
    loop.stop()


def ids(ports: Ports) -> list[str]:
    return sorted(row["event_id"] for rows in files(ports).values() for row in rows)


def good(arrivals: Sequence[Arrival]) -> list[str]:
    return sorted(orjson.loads(a.payload)["event_id"] for a in arrivals if a.payload not in BAD)


def test_files_by_date_of_arrival_and_tenant(home: LocalHome, tmp_path: Path) -> None:
    mine, theirs = fill(home, 300, rate=0.002, poison=0.0), fill(home, 30, "acme")
    assert delivery(home, tmp_path / "p").step(flush=True) == (len(mine + theirs), False)
    ports = home.open("default")
    found = files(ports)
    assert len({name.split("/")[1] for name in found}) >= 2
    assert ids(ports) == good(mine)
    assert ids(home.open("acme")) == good(theirs)
    for name, rows in found.items():
        day = name.split("/")[1].removeprefix("date=")
        arrived = {orjson.loads(a.payload)["event_id"]: a.arrived for a in mine}
        dates = {np.datetime64(int(arrived[row["event_id"]]), "s").astype("M8[D]") for row in rows}
        assert {str(d) for d in dates} == {day}
        assert pq.read_schema(BytesIO(ports.blobs.read(name))).equals(SCHEMA)


def test_a_file_waits_for_a_minute_or_for_many(
    home: LocalHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = home.clock
    assert isinstance(clock, MovableClock)
    arrivals = fill(home, 50, rate=100.0, late=0.0, repeats=0.0)
    due = delivery(home, tmp_path / "p", rows=20)
    assert due.step() == (0, False)
    monkeypatch.setattr("vireo.homes.local.delivery.BYTES", 1000)
    assert due.step()[0] > 0
    monkeypatch.undo()
    clock.advance(SECONDS)
    due.step()
    assert ids(home.open("default")) == good(arrivals)
    assert max(map(len, files(home.open("default")).values())) <= 20
    assert due.step() == (0, False)


def test_a_crash_before_the_position_is_kept_loses_and_doubles_nothing(
    home: LocalHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(home, 100)
    with monkeypatch.context() as patch:

        def die(self: Position, value: int) -> None:
            raise SystemExit

        patch.setattr(Position, "save", die)
        with pytest.raises(SystemExit):
            delivery(home, tmp_path / "p").step(flush=True)
    arrivals = fill(home, 60)
    delivery(home, tmp_path / "p").step(flush=True)
    assert ids(home.open("default")) == good(arrivals)


def test_a_store_that_is_down_is_tried_again(home: LocalHome, tmp_path: Path) -> None:
    arrivals = fill(home, 50)

    def down(_: str) -> Blobs:
        raise Unavailable("no")

    broken = Delivery(
        home.log,
        tmp_path / "p",
        transform=transform,
        convert=as_parquet,
        blobs=down,
        clock=home.clock,
    )
    with pytest.raises(Unavailable):
        broken.step(flush=True)
    delivery(home, tmp_path / "p").step(flush=True)
    assert ids(home.open("default")) == good(arrivals)


def prepared(home: LocalHome) -> Prepared:
    return read_home(home.open("default"))


def test_repeats_and_what_is_malformed_in_the_files_change_no_training_count(
    home: LocalHome, tmp_path: Path
) -> None:
    ports = home.open("default")
    Catalogue(ports).put_all(catalogue(40))
    fill(home, 500, repeats=0.0, poison=0.0)
    delivery(home, tmp_path / "p").step(flush=True)
    clean = prepared(home)
    assert clean.report.kept == 500
    for name in list(ports.blobs.names("events/")):
        table = pq.read_table(BytesIO(ports.blobs.read(name)))
        rows = table.to_pylist()
        wrong = [
            {**rows[0], "event_id": "w1", "type": "sneeze"},
            {**rows[0], "event_id": "w2", "watch_fraction": 1.5},
            {**rows[0], "event_id": "w3", "timestamp": START + 1e7},
            {**rows[0], "event_id": "w4", "user_id": None},
            {**rows[0], "event_id": None},
            {"event_id": "r/exposure", "type": "exposure", "experiments": [("a", "b")]},
            {},
        ]
        again = table.from_pylist([*reversed(rows), *wrong, *rows[:20]], schema=SCHEMA)
        buffer = BytesIO()
        pq.write_table(again, buffer)
        ports.blobs.write(name.replace("stream", "again"), buffer.getvalue())
    dirty = prepared(home)
    assert (dirty.report.kept, dirty.report.types) == (clean.report.kept, clean.report.types)
    assert dirty.report.positives == clean.report.positives
    assert dirty.log.time.tobytes() == clean.log.time.tobytes()
    assert dirty.log.video.tobytes() == clean.log.video.tobytes()
    assert dirty.log.user.tobytes() == clean.log.user.tobytes()
    np.testing.assert_array_equal(dirty.activity.type, clean.activity.type)
    assert dirty.report.dropped.keys() == {"malformed", "repeated", "in the future"}


def test_exposures_are_collected(home: LocalHome, tmp_path: Path) -> None:
    exposure = {
        "event_id": "r-1/exposure",
        "type": "exposure",
        "user_id": "anna",
        "timestamp": START,
        "request_id": "r-1",
        "model_version": "b1",
        "experiments": {"order": "b", "blend": "a"},
    }
    ports = home.open("default")
    ports.stream.publish([("anna", orjson.dumps(exposure)), ("anna", b"{")])
    delivery(home, tmp_path / "p").step(flush=True)
    [[row]] = files(ports).values()
    assert dict(row["experiments"]) == exposure["experiments"]
    assert (row["request_id"], row["video_id"]) == ("r-1", None)


def test_the_log_keeps_a_day_and_what_is_not_done(
    home: LocalHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vireo.homes.local.mapping.STEPS", 1)
    clock = home.clock
    assert isinstance(clock, MovableClock)
    arrivals = fill(home, 300, poison=0.0)
    mapping = EventSourceMapping(home.log, tmp_path / "p", follower(home), batch=50)
    collected = delivery(home, tmp_path / "c")
    retention = Retention(home.log, [mapping, collected], clock)
    retention.step()
    assert logged(home) == arrivals, "it is young"
    clock.advance(2 * 86_400)
    retention.step()
    assert logged(home) == arrivals, "nobody has followed it"
    mapping.step()
    collected.step(flush=True)
    sizes = [home.log.size(shard) for shard in range(home.log.shards)]
    retention.step()
    left = logged(home)
    assert left == [a for a in arrivals if a in left]
    assert len(left) == len(arrivals) - 100, "the mapping has done a batch of each shard"
    assert [home.log.size(shard) for shard in range(home.log.shards)] == sizes
    # Readers go on where they were, new ones at what is left, and new records have greater places.
    drained(mapping)
    assert_followed(home.open("default").records, arrivals)
    more = fill(home, 40, poison=0.0)
    assert {a.position for a in left} < {a.position for a in more}
    assert drained(EventSourceMapping(home.log, tmp_path / "q", follower(home))) == len(more)
    clock.advance(2 * 86_400)
    drained(mapping)
    collected.step(flush=True)
    retention.step()
    assert logged(home) == []
    assert sum(path.stat().st_size for path in home.folder.glob("stream/*.log")) < 100
    again = fill(home, 10, poison=0.0)
    assert min(a.position for a in again) > min(sizes)


def test_a_death_while_trimming_leaves_the_log_as_it_was(
    home: LocalHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrivals = fill(home, 50)
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            raise SystemExit

        patch.setattr("shutil.copyfileobj", die)
        with pytest.raises(SystemExit):
            home.log.trim(0, before=START * 2, until=10**18)
    assert logged(home) == arrivals
    assert home.log.trim(0, before=START * 2, until=10**18) > 0
    home.open("default").stream.publish([("anna", b"{}")])
    assert len(logged(home)) < len(arrivals)
