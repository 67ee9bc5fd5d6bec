"""Erased people leave the files for good; dead letters come back when they are sent again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import purge as purging
from scripts import replay
from tests.oracles_events import payload, stored_viewers
from tests.streams import delivery, files, fill
from tests.worlds import catalogue
from tracking.app import follower
from vireo.catalogue.store import Catalogue
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.homes.local.mapping import EventSourceMapping
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Missing, Ports, Table
from vireo.recommender.steering.campaigns import cap_key
from vireo.recommender.users import Viewers
from vireo.training.data import purge
from vireo.training.data.collected import read_home

START = 1_700_000_000.0


@pytest.fixture
def home(tmp_path: Path) -> LocalHome:
    return LocalHome(tmp_path, clock=MovableClock(START))


@pytest.fixture
def ports(home: LocalHome) -> Ports:
    return home.open("default")


def users(ports: Ports) -> set[str]:
    return {row["user_id"] for rows in files(ports).values() for row in rows}


def test_the_rows_of_erased_people_leave_the_files(
    home: LocalHome, ports: Ports, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Catalogue(ports).put_all(catalogue(40))
    fill(home, 400, users=10, repeats=0.0, poison=0.0)
    delivery(home, tmp_path / "p").step(flush=True)
    before = sum(map(len, files(ports).values()))
    theirs = [r for rows in files(ports).values() for r in rows if r["user_id"] == "u3"]
    assert purge.purge(ports) == purge.Purge(0, 0, 0, 0)
    for run, decision in (("old", b'{"decision": {"deploy": false}}'), ("now", None)):
        ports.blobs.write(f"runs/{run}/prepared/log.npz", b"u3")
        if decision:
            ports.blobs.write(f"runs/{run}/evaluate.json", decision)
    Viewers(ports).erase("u3")
    ports.blobs.write("events/date=2023-11-14/only.parquet", _file(theirs[:1]))
    done = purge.purge(ports)
    assert (done.people, done.rows, done.prepared) == (1, len(theirs) + 1, 1)
    assert "u3" not in users(ports)
    assert sum(map(len, files(ports).values())) == before - len(theirs)
    assert list(ports.blobs.names("runs/")) == [
        "runs/now/prepared/log.npz",
        "runs/old/evaluate.json",
    ]
    assert not any("only" in name for name in files(ports)), "nothing was left of it"
    # The job is logged; doing it again finds nothing more, and training knows nobody of that name.
    clock = home.clock
    assert isinstance(clock, MovableClock)
    clock.advance(1)
    assert purge.purge(ports).rows == 0
    assert [one["rows"] for one in purge.history(ports.records)] == [len(theirs) + 1, 0]
    assert b"u3" not in read_home(ports).log.people.ids.tolist()
    purging.main(["--state", str(home.folder)])
    assert f"{len(theirs) + 1} rows gone" in capsys.readouterr().out


def _file(rows: list[dict[str, object]]) -> bytes:
    from vireo.events.parquet import as_parquet

    return as_parquet([payload({k: v for k, v in row.items() if v is not None}) for row in rows])


def test_what_they_do_when_they_come_back_stays(
    home: LocalHome, ports: Ports, tmp_path: Path
) -> None:
    Viewers(ports).erase("anna")
    clock = home.clock
    assert isinstance(clock, MovableClock)
    clock.advance(100)
    row = {"user_id": "anna", "video_id": "v1", "type": "watch"}
    for name, at in (("before", START - 1), ("after", START + 50)):
        ports.stream.publish([("anna", payload({**row, "event_id": name, "timestamp": at}))])
    delivery(home, tmp_path / "p").step(flush=True)
    assert purge.purge(ports).rows == 1
    [rows] = files(ports).values()
    assert [r["event_id"] for r in rows] == ["after"]


def test_a_damaged_file_is_left_to_who_reads_it(ports: Ports) -> None:
    Viewers(ports).erase("anna")
    ports.blobs.write("events/date=2023-11-14/broken.parquet", b"not parquet")
    assert purge.purge(ports).files == 0
    assert ports.blobs.read("events/date=2023-11-14/broken.parquet") == b"not parquet"


def test_the_cache_forgets_them_too(ports: Ports) -> None:
    campaign = {"campaign_id": "launch", "video_ids": ["v1"], "budget": 10}
    ports.records.put(Table.SETTINGS, "campaigns", "launch", campaign)
    for user in ("anna", "boris"):
        ports.cache.add(cap_key("launch", user), 3, seconds=100)
    Viewers(ports).erase("anna")
    assert ports.cache.add(cap_key("launch", "anna"), seconds=100) == 1
    assert ports.cache.add(cap_key("launch", "boris"), seconds=100) == 4


def test_dead_letters_are_shown_dropped_and_sent_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = LocalHome(tmp_path / "now")  # by the clock that the script has, too
    ports = home.open("default")
    good = {
        "event_id": "e1",
        "user_id": "anna",
        "video_id": "v1",
        "type": "watch",
        "timestamp": home.clock.now(),
    }
    ports.records.put(Table.VIEWERS, "anna", "", {"viewer": b"of a version to come"})
    ports.stream.publish([("anna", payload(good)), ("boris", b"{")])
    mapping = EventSourceMapping(home.log, tmp_path / "p", follower(home))
    mapping.step()
    state = ["--state", str(home.folder)]
    replay.main(state)
    said = capsys.readouterr().out
    assert "the state cannot be read" in said
    assert "not JSON" in said
    assert "2  in all" in said
    replay.main([*state, "--reason", "not JSON", "--drop"])
    assert "1 thrown away, 0 kept" in capsys.readouterr().out
    # What stood in the way is mended.
    ports.records.delete(Table.VIEWERS, "anna")
    replay.main([*state, "--again"])
    assert "1 sent again, 0 kept" in capsys.readouterr().out
    assert list(DeadLetters(ports.blobs).all()) == []
    mapping.step()
    assert stored_viewers(ports.records, ["anna"])["anna"].watches == 1


def test_a_letter_is_kept_while_the_stream_does_not_take_it(ports: Ports) -> None:
    class Down:
        def publish(self, records: Sequence[tuple[str, bytes]]) -> Sequence[str | None]:
            return ["down"] * len(records)

    DeadLetters(ports.blobs).bury(Arrival("anna", b"{", "shard-0", 7, START), "why")
    assert replay.settle(replace(ports, stream=Down()), "", send=True) == (0, 1)
    [(name, _, reason)] = DeadLetters(ports.blobs).all()
    assert reason == "why"
    DeadLetters(ports.blobs).remove(name)
    with pytest.raises(Missing):
        ports.blobs.read(name)
