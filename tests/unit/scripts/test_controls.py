"""`scripts/controls.py`: what operators set, checked before it is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from scripts import controls as script
from vireo.homes.local import LocalHome
from vireo.recommender.steering import controls

CAMPAIGN: dict[str, Any] = {"campaign_id": "spring", "video_ids": ["v1"], "budget": 100}


@pytest.fixture
def state(tmp_path: Path) -> list[str]:
    return ["--state", str(tmp_path / "state")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "given.json"


def serving(state: list[str]) -> controls.Controls:
    home = LocalHome(Path(state[1]))
    try:
        return controls.read(home.open("default").records)
    finally:
        home.close()


def test_what_is_set_serves_until_it_is_removed(
    state: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, given in (("campaigns", CAMPAIGN), ("tuning", {"explore_slots": 0})):
        file.write_bytes(orjson.dumps(given))
        script.main([kind, "--put", str(file), *state])
    found = serving(state)
    assert [c.campaign_id for c in found.campaigns] == ["spring"]
    assert found.tuning.explore_slots == 0
    capsys.readouterr()
    script.main(["campaigns", *state])
    assert orjson.loads(capsys.readouterr().out) == {"spring": CAMPAIGN}
    script.main(["campaigns", "--remove", "spring", *state])
    script.main(["tuning", "--remove", "--state", state[1]])
    assert serving(state) == controls.Controls()


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        ("campaigns", orjson.dumps(CAMPAIGN | {"budget": 0}), "budget: Input should be greater"),
        ("experiments", b'{"name": "blend"}', "variants: Field required"),
        ("tuning", b'{"explore": 1}', "explore: Extra inputs are not permitted"),
        ("tuning", b"{", "This is not JSON"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_set(
    state: list[str], file: Path, kind: str, given: bytes, says: str
) -> None:
    file.write_bytes(given)
    with pytest.raises(SystemExit, match=says):
        script.main([kind, "--put", str(file), *state])
    assert serving(state) == controls.Controls()


def test_what_is_not_there_cannot_be_removed(state: list[str]) -> None:
    with pytest.raises(SystemExit, match="no spring among campaigns"):
        script.main(["campaigns", "--remove", "spring", *state])
