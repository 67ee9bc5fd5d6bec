"""What the functions write in health and in every fault that an alarm of ours is for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.infra.account import Account
from tests.infra.faults import (
    DAY,
    Running,
    batch,
    broken,
    event,
    fails,
    lose,
    lose_the_stream,
    running,
    serve,
)
from vireo.events.intake import Intake
from vireo.ports import Table
from vireo.recommender.service import Recommender

AGES = {"task": "ages", "tenant": "default"}
EXPERIMENT = {"name": "e", "variants": [{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]}


def recommend(f: Running) -> None:
    """Somebody is asked about, and gets recommendations."""
    serve(f.ports)
    f.ask()
    with broken("ranking", lambda: f.clock.advance(0.02)):
        f.ask()


def slow_stage(f: Running) -> None:
    """A stage takes a while."""
    serve(f.ports)
    f.ask()
    with broken("ranking", lambda: f.clock.advance(0.15)):
        f.ask()


def broken_stage(f: Running) -> None:
    """A stage fails."""
    serve(f.ports)
    with broken("ranking", fails):
        assert f.ask()["degraded"] == ["ranking"]


def broken_answers(f: Running) -> None:
    """The route itself fails: nobody gets an answer, and Lambda sees no error."""
    serve(f.ports)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recommender, "recommend", lambda *given: fails())
        assert f.ask(status=500)["error"]["code"] == "internal_error"


def no_model(f: Running) -> None:
    """There is no bundle that could be loaded."""
    assert f.ask(status=503)["error"]["code"] == "no_model"


def no_viewers(f: Running) -> None:
    """Viewers' records cannot be read."""
    serve(f.ports)
    f.ask()
    lose(Table.VIEWERS)
    assert f.ask()["degraded"] == ["viewer"]


def no_overlay(f: Running) -> None:
    """What changed in the catalogue cannot be read."""
    serve(f.ports)
    f.ask()
    lose(Table.OVERLAY)
    f.ask()


def damaged_bundle(f: Running) -> None:
    """Another bundle is to serve, and lacks a file."""
    serve(f.ports)
    f.ask()
    serve(f.ports, "b2")
    f.ports.blobs.delete("bundles/b2/features.npy")
    assert f.ask()["model_version"] == "b1"


def old_bundle(f: Running) -> None:
    """No model has been accepted for three weeks."""
    serve(f.ports, age=22 * DAY)
    f.ask()


def wrong_setting(f: Running) -> None:
    """An operator's campaign is none."""
    serve(f.ports)
    f.ports.records.put(Table.SETTINGS, "campaigns", "c", {"campaign_id": "c", "budget": "much"})
    f.ask()


def lost_exposure(f: Running) -> None:
    """An experiment runs, and the stream takes nothing."""
    serve(f.ports)
    f.ports.records.put(Table.SETTINGS, "experiments", "e", EXPERIMENT)
    lose_the_stream()
    f.ask()
    f.wait_for("ExposureLost")


def no_cache(f: Running) -> None:
    """A campaign counts what viewers see in a cache that is away, and is given up for a while."""
    serve(f.ports)
    campaign = {"campaign_id": "c", "video_ids": ["v5"], "budget": 100}
    f.ports.records.put(Table.SETTINGS, "campaigns", "c", campaign)
    f.ask()
    f.wait_for("CacheError")
    f.ask()
    f.wait_for("CacheSkipped")


def events(f: Running) -> None:
    """A viewer did something."""
    f.ask("POST", "/v1/events", event(1))


def no_stream(f: Running) -> None:
    """A viewer did something, and the stream takes nothing."""
    lose_the_stream()
    f.ask("POST", "/v1/events", event(1), status=503)


def broken_intake(f: Running) -> None:
    """The route of events itself fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Intake, "take", lambda *given: fails())
        f.ask("POST", "/v1/events", event(1), status=500)


def tracking(f: Running) -> None:
    """The consumer follows."""
    assert f.call(batch(json.dumps(event(1)).encode())) == {"batchItemFailures": []}


def poison(f: Running) -> None:
    """A record is no event."""
    f.call(batch(b"{"))


def no_records(f: Running) -> None:
    """The consumer cannot write what it has followed."""
    lose(Table.VIEWERS)
    assert f.call(batch(json.dumps(event(1)).encode()))["batchItemFailures"]


def upkeep(f: Running) -> None:
    """A training has come to a verdict yesterday."""
    _verdict(f, DAY)
    f.call(AGES)


def old_training(f: Running) -> None:
    """The last training is over eight days ago."""
    _verdict(f, 8.1 * DAY)
    _verdict(f, 20 * DAY)
    f.call(AGES)


def no_training(f: Running) -> None:
    """There never was a training."""
    f.call(AGES)
    assert f.lines == []


def _verdict(f: Running, ago: float) -> None:
    at = datetime.now(UTC).timestamp() - ago
    f.ports.records.put(Table.REGISTRY, "runs", f"r-{ago}", {"at": at, "deploy": False})


#: By the function in which it happens.
HAPPENINGS: Mapping[str, tuple[Callable[[Running], None], ...]] = {
    "recommend": (
        recommend,
        slow_stage,
        broken_stage,
        broken_answers,
        no_model,
        no_viewers,
        no_overlay,
        damaged_bundle,
        old_bundle,
        wrong_setting,
        lost_exposure,
        no_cache,
    ),
    "events": (events, no_stream, broken_intake),
    "tracking": (tracking, poison, no_records),
    "upkeep": (upkeep, old_training, no_training),
}


def emitted(
    account: Account, what: Callable[[Running], None], scratch: Path, version: str
) -> list[str]:
    """The lines of the last call of what happens, in a version of the function."""
    (package,) = (name for name, found in HAPPENINGS.items() if what in found)
    with running(account, package, scratch, version) as function:
        what(function)
        return list(function.lines)
