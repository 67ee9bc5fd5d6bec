"""What must not serve does not: refusals, failures, crashes and races of the state machine."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from scripts import local
from tests.e2e.conftest import END, LENIENT, QUICK, Laptop, Open
from vireo.bundles import files as bundles
from vireo.bundles import pointer as pointers
from vireo.bundles.manifest import MANIFEST
from vireo.ports import Conflict, Table
from vireo.recommender.contents import ModelBundle
from vireo.recommender.models import RecommendRequest
from vireo.recommender.service import Recommender
from vireo.training import deployment, generator
from vireo.training.data.collected import into_home
from vireo.training.data.dataset import Dataset
from vireo.training.run import Run
from vireo.training.steps import TRAINING

Refuse = Callable[[generator.Settings], tuple[Laptop, list[str]]]


@pytest.fixture
def refuse(tmp_path: Path) -> Refuse:
    """Runs the state machine on a log with the gates as they are by default."""

    def run(settings: generator.Settings) -> tuple[Laptop, list[str]]:
        laptop = Laptop(tmp_path / "home")
        laptop.clock.advance(END - laptop.clock.now())
        into_home(generator.generate(settings), laptop.ports)
        execution = laptop.run("refused")
        assert execution.status == "SUCCEEDED", f"{execution.error}: {execution.cause}"
        assert execution.output is not None
        decision = execution.output["decision"]
        assert decision["deploy"] is False
        assert execution.output["version"] is None
        record = laptop.ports.records.get(Table.REGISTRY, "runs", "refused")
        assert record is not None
        assert (record.item["deploy"], record.item["reasons"]) == (False, decision["reasons"])
        report = laptop.ports.blobs.read("runs/refused/report/report.html").decode()
        assert all(reason.split(":")[0] in report for reason in decision["reasons"])
        return laptop, decision["reasons"]

    return run


def test_a_random_log_is_refused(refuse: Refuse) -> None:
    laptop, reasons = refuse(
        generator.Settings(150, 800, 12_000, seed=3, end=END, structure="none")
    )
    assert not any(reason.startswith("enough") for reason in reasons)
    said = "\n".join(reasons)
    assert "retrieval better than chance: " in said
    assert "temporal: learns more than popularity: " in said
    assert "the events do not show that it learnt anything" in said
    assert laptop.serves is None
    assert not list(laptop.ports.blobs.names("bundles/"))


def test_where_nothing_serves_yet_what_is_popular_does(
    refuse: Refuse, capsys: pytest.CaptureFixture[str]
) -> None:
    laptop, reasons = refuse(generator.Settings(20, 100, 900, seed=3, end=END))
    execution = laptop.ports.executions.describe("training", "refused")
    local._tell(execution, laptop.ports, laptop.folder)
    said = capsys.readouterr().out
    assert all(reason in said for reason in reasons)
    assert "What is popular serves instead" in said
    (report,) = re.findall(r"Report: (\S+)", said)
    assert Path(report).is_file()
    assert laptop.serves == "refused-popular"
    body = RecommendRequest(user_id="u00001", limit=10)
    answer = Recommender(laptop.ports, viewer_seconds=30).recommend(body, "r")
    assert len(answer.items) == 10
    assert answer.degraded == ()
    # another refusal, or a failure, leaves it
    local._tell(execution, laptop.ports, laptop.folder)
    local._tell(replace(execution, status="FAILED"), laptop.ports, laptop.folder)
    assert capsys.readouterr().out.endswith("refused-popular serves on.\n")
    assert laptop.serves == "refused-popular"
    # and it is a champion that a model can be compared with
    assert laptop.run("second", config={**QUICK, "requests": 60}).status == "SUCCEEDED"
    with pytest.raises(Conflict):
        deployment.serve_without_models(Run.of(execution.output or {}), laptop.ports)


def test_a_small_log_is_refused(refuse: Refuse) -> None:
    laptop, reasons = refuse(generator.Settings(20, 100, 900, seed=3, end=END))
    enough = [reason for reason in reasons if reason.startswith("enough")]
    assert len(enough) == 2
    assert all(" too few, " in reason and " are needed" in reason for reason in enough)
    assert laptop.serves is None


def test_a_refused_challenger_leaves_the_pointer(laptop: Laptop) -> None:
    """Everything as for ``first``, but for what is asked of it."""
    for step in ("preprocess", "two_tower", "ranker"):
        kept = orjson.loads(laptop.ports.blobs.read(f"runs/first/{step}.json"))
        mine = {**kept, "run_id": "ambitious", "gates": {**LENIENT, "retrieval_recall": 0.999}}
        laptop.ports.blobs.write(f"runs/ambitious/{step}.json", orjson.dumps(mine))
    execution = laptop.run("ambitious", gates={**LENIENT, "retrieval_recall": 0.999})
    assert execution.status == "SUCCEEDED"
    assert execution.output is not None
    (reason,) = execution.output["decision"]["reasons"]
    assert reason.startswith("retrieval Recall@100: 0.")
    assert "is below 0.999" in reason
    assert laptop.serves == "first"


def failing(error: Exception) -> Callable[..., Any]:
    def step(*_: object) -> None:
        raise error

    return step


def test_a_failure_is_told_and_nothing_is_switched(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for attempt, error in enumerate((ValueError("a broken tower"), KeyError("another")), 1):
        for step in ("two_tower", "ranker"):
            monkeypatch.setitem(TRAINING.steps, step, failing(error))
        execution = laptop.run("broken", name=f"broken-{attempt}")
        assert (execution.status, execution.error) == ("FAILED", type(error).__name__)
        assert execution.cause is not None
        assert str(error.args[0]) in execution.cause
        assert laptop.meter.total("TrainingFailed") == attempt
        kept = orjson.loads(laptop.ports.blobs.read("runs/broken/failure.json"))
        assert kept["Error"] == type(error).__name__
        assert laptop.serves == "first"


class Crash(BaseException):
    """The process is gone: nothing that it would have done afterwards happens."""


@pytest.mark.parametrize("moment", ["before the manifest", "before the switch", "after the switch"])
def test_a_crash_in_the_middle_of_a_deployment(
    moment: str, laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = laptop.evaluated("second")
    switch, blob = pointers.switch, bundles._blob

    def crash(*given: Any, **named: Any) -> None:
        if moment == "after the switch":
            switch(*given, **named)
        raise Crash

    with monkeypatch.context() as patched:
        if moment == "before the manifest":
            patched.setattr(bundles, "_blob", lambda v, n: crash() if n == MANIFEST else blob(v, n))
        else:
            patched.setattr(pointers, "switch", crash)
        with pytest.raises(Crash):
            laptop.step("deploy", document)
    assert laptop.serves == ("second" if moment == "after the switch" else "first")
    laptop.clock.advance(600)
    assert laptop.step("deploy", document)["version"] == "second"
    assert laptop.serves == "second"
    published = bundles.fetch(
        laptop.ports.blobs, "second", laptop.folder / "elsewhere", ModelBundle
    )
    here = bundles.fetch(laptop.ports.blobs, "second", Path(laptop.ports.scratch), ModelBundle)
    assert published.manifest == here.manifest, "this machine serves what was published"
    assert laptop.step("deploy", document)["version"] == "second"
    pointer = pointers.current(laptop.ports.records)
    assert pointer is not None
    assert (pointer.previous, pointer.record) == ("first", 2), "switched once"


def test_an_execution_started_again_does_only_what_is_left(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = laptop.ports
    ports.records.delete(Table.REGISTRY, "serving")
    ports.blobs.delete("runs/first/deploy.json")
    done: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        def step(*given: Any) -> Any:
            done.append(name)
            return original[name](*given)

        return step

    original = dict(TRAINING.steps)
    for name in original:
        monkeypatch.setitem(TRAINING.steps, name, counted(name))
    execution = laptop.run("first", name="again", gates=dict(LENIENT))
    assert execution.status == "SUCCEEDED", f"{execution.error}: {execution.cause}"
    assert done == ["deploy", "release"], "a release is asked about, not done again"
    assert laptop.serves == "first"


def test_of_two_deployments_at_once_one_serves(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2)
    build = deployment.build

    def both_have_seen_the_pointer(*given: Any, **named: Any) -> Any:
        together.wait(60)
        return build(*given, **named)

    monkeypatch.setattr(deployment, "build", both_have_seen_the_pointer)
    ends: dict[str, str] = {}

    def deploy(run_id: str) -> None:
        try:
            ends[run_id] = str(laptop.step("deploy", laptop.evaluated(run_id))["version"])
        except Conflict:
            ends[run_id] = "conflict"

    threads = [threading.Thread(target=deploy, args=(name,)) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(ends.values()) in (["conflict", "left"], ["conflict", "right"])
    winner = next(name for name, end in ends.items() if end == name)
    assert laptop.serves == winner
    whole = bundles.fetch(laptop.ports.blobs, winner, laptop.folder / "elsewhere", ModelBundle)
    assert whole.version == winner
    pointer = pointers.current(laptop.ports.records)
    assert pointer is not None
    assert pointer.previous == "first"


def test_the_model_in_production_is_the_one_to_beat(open_copy: Open, generated: Dataset) -> None:
    """A run two weeks later meets ``first`` on what neither of them has seen."""
    laptop = open_copy()
    laptop.clock.advance(END - laptop.clock.now())
    into_home(generated, laptop.ports)
    # Wide intervals, so that a quickly trained model is not below ``first`` beyond them; whether it
    # loses to a baseline is not what this is about.
    gates = {**LENIENT, "least_viewers_in_bucket": 10, "level": 0.9999}
    execution = laptop.run("second", gates=gates, config={**QUICK, "requests": 120})
    assert execution.status == "SUCCEEDED", f"{execution.error}: {execution.cause}"
    assert execution.output is not None
    decision = execution.output["decision"]
    assert not any("the model in production" in reason for reason in decision["reasons"])
    assert laptop.serves == ("second" if decision["deploy"] else "first")
    report = orjson.loads(laptop.ports.blobs.read("runs/second/report/report.json"))
    for protocol in ("temporal", "successive"):
        gate = f"{protocol}: not below the model in production"
        (verdict,) = (v for v in report["verdicts"] if v["gate"] == gate)
        assert verdict["passed"]
        assert verdict["why"].startswith("ndcg@10 minus first's is ")
        (evaluation,) = (e for e in report["evaluations"] if e["protocol"] == protocol)
        assert "in production (first)" in {s["name"] for s in evaluation["systems"]}
