"""`scripts/person.py`: a person's data, with what only the collected files know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from scripts import person
from tests.oracles_events import payload
from tests.streams import START, delivery
from tests.worlds import catalogue, viewer
from vireo.catalogue.store import Catalogue
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Table


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    home = LocalHome(folder, clock=MovableClock(START))
    ports = home.open("default")
    Catalogue(ports).put_all(catalogue(5))
    ports.records.put(Table.VIEWERS, "anna", "", {"viewer": viewer(1, 2, 99).pack()})
    events = [
        {
            "event_id": f"e{n}",
            "user_id": user,
            "video_id": f"v{n}",
            "type": "like",
            "timestamp": START,
        }
        for n, user in enumerate(["anna", "boris", "anna"])
    ]
    exposure = {"event_id": "x", "user_id": "anna", "type": "exposure", "timestamp": START}
    exposure |= {"request_id": "r", "model_version": "m", "experiments": {"trial": "a"}}
    told = [(str(event["user_id"]), payload(event)) for event in [*events, exposure]]
    assert not any(ports.stream.publish(told))
    delivery(home, tmp_path / "positions").step(flush=True)
    ports.blobs.write("events/date=2023-01-01/damaged.parquet", b"?")
    letters = DeadLetters(ports.blobs)
    for position in range(102):  # more than one answer of the API has
        letters.bury(Arrival("anna", b"{", "shard", position, START), "not JSON")
    home.close()
    return folder


def export(state: Path, user: str, into: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    person.main([user, "--into", str(into), "--state", str(state)])
    lines = (into / "collected.jsonl").read_bytes().splitlines()
    kept: dict[str, Any] = orjson.loads((into / "person.json").read_bytes())
    return kept, [orjson.loads(line) for line in lines]


def test_it_has_what_files_know_and_all_answers(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, rows = export(state, "anna", tmp_path / "anna")
    assert [row["event_id"] for row in rows] == ["e0", "e2", "x"]
    assert (rows[0]["video_id"], rows[2]["experiments"]) == ("v0", {"trial": "a"})
    assert "experiments" not in rows[0]
    assert [video["video_id"] for video in kept["watched"]] == ["v1", "v2", None]
    assert len(kept["dead_letters"]) == 102
    assert kept["next"] is None
    assert [u["where"] for u in kept["unreadable"]] == ["events/date=2023-01-01/damaged.parquet"]
    assert "1 rows, 102 dead letters, 3 events in 1 files; 1 could not" in capsys.readouterr().out
    assert (tmp_path / "anna").stat().st_mode & 0o777 == 0o700


def test_who_is_in_files_only_and_who_is_nowhere(state: Path, tmp_path: Path) -> None:
    kept, rows = export(state, "boris", tmp_path / "boris")
    assert (kept["rows"], [row["event_id"] for row in rows]) == (0, ["e1"])
    kept, rows = export(state, "nobody", tmp_path / "nobody")
    assert (kept["rows"], rows) == (0, [])


def test_nothing_is_written_over(state: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is there already"):
        export(state, "anna", tmp_path)
