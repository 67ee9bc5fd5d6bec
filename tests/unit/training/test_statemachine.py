"""The training state machine, run by moto's interpreter with small functions for its steps."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import orjson
import pytest
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import (
    WaitFunction,
)

from vireo.homes.local import LocalHome
from vireo.homes.local import home as local_home
from vireo.jobs.task import task
from vireo.ports import Execution, Missing, Refused, Unavailable, Withdrawn
from vireo.training.steps import TRAINING

Step = Callable[[dict[str, Any]], dict[str, Any]]
DEFINITION = Path("statemachines/training.asl.json")


def evaluate(run: dict[str, Any]) -> dict[str, Any]:
    """Merge the branches; deploy when the document asks for it."""
    artifacts = dict(run.get("artifacts", {}))
    for branch in run.pop("branches"):
        artifacts |= branch["artifacts"]
    return {**run, "artifacts": artifacts, "decision": {"deploy": run["good"]}}


class Training:
    """The state machine in a folder, with steps that tests can replace."""

    def __init__(self, folder: Path) -> None:
        self.called: list[str] = []
        self.steps: dict[str, Step] = {
            "preprocess": lambda run: {**run, "artifacts": {"log": "blobs/log"}},
            "two_tower": lambda run: {**run, "artifacts": {**run["artifacts"], "tower": "t"}},
            "ranker": lambda run: {**run, "artifacts": {**run["artifacts"], "ranker": "r"}},
            "evaluate": evaluate,
            "deploy": lambda run: {**run, "version": "v1"},
            "release": lambda run: {**run, "released": True},
            "notify": lambda run: run,
        }
        self.home = local_home(folder, functions={"TrainingFunction": self.function})

    def function(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        self.called.append(event["step"])
        return self.steps[event["step"]](event["run"])

    def run(self, document: dict[str, Any]) -> Execution:
        executions = self.home.open("acme").executions
        executions.start("training", "run", document)
        assert self.home.machines.wait("training", "acme", "run", 30)
        return executions.describe("training", "run")


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.setattr(f"{retrier_decl.__name__}.time.sleep", lambda seconds: None)
    return Training(tmp_path)


def raising(error: Exception) -> Step:
    def step(run: dict[str, Any]) -> dict[str, Any]:
        raise error

    return step


def test_a_good_challenger_is_deployed(training: Training) -> None:
    together = Barrier(2)  # a branch alone would wait here for ever

    def beside(step: Step) -> Step:
        return lambda run: (together.wait(10), step(run))[1]

    for name in ("two_tower", "ranker"):
        training.steps[name] = beside(training.steps[name])
    execution = training.run({"good": True})
    assert execution == Execution(
        "run",
        "SUCCEEDED",
        {
            "run_id": "acme_run",
            "tenant": "acme",
            "good": True,
            "artifacts": {"log": "blobs/log", "tower": "t", "ranker": "r"},
            "decision": {"deploy": True},
            "version": "v1",
            "released": True,
        },
    )
    assert training.called[0] == "preprocess"
    assert sorted(training.called[1:3]) == ["ranker", "two_tower"]
    assert training.called[3:] == ["evaluate", "deploy", "release"]


def test_a_bad_challenger_is_refused_which_is_no_failure(training: Training) -> None:
    execution = training.run({"good": False})
    assert execution.status == "SUCCEEDED"
    assert execution.output is not None
    assert execution.output["decision"] == {"deploy": False}
    assert "version" not in execution.output
    assert "deploy" not in training.called
    assert "notify" not in training.called


def test_an_unavailable_store_is_tried_again(training: Training) -> None:
    failures = iter([Unavailable("busy"), Unavailable("busy"), None])
    good = training.steps["two_tower"]

    def flaky(run: dict[str, Any]) -> dict[str, Any]:
        if error := next(failures):
            raise error
        return good(run)

    training.steps["two_tower"] = flaky
    assert training.run({"good": True}).status == "SUCCEEDED"
    assert training.called.count("two_tower") == 3
    assert training.called.count("preprocess") == 1


def test_what_stays_unavailable_fails(training: Training) -> None:
    training.steps["deploy"] = raising(Unavailable("busy"))
    execution = training.run({"good": True})
    assert (execution.status, execution.error) == ("FAILED", "Unavailable")
    assert training.called.count("deploy") == 4
    assert training.called[-1] == "notify"


@pytest.mark.parametrize("step", ["preprocess", "two_tower", "ranker", "evaluate", "deploy"])
def test_a_failing_step_is_reported_and_fails_the_run(training: Training, step: str) -> None:
    noticed: list[dict[str, Any]] = []

    def notify(run: dict[str, Any]) -> dict[str, Any]:
        noticed.append(run)
        return {}

    training.steps[step] = raising(KeyError("no such column"))
    training.steps["notify"] = notify
    execution = training.run({"good": True})
    assert execution.status == "FAILED"
    assert execution.error == "KeyError"
    assert execution.cause is not None
    assert "no such column" in execution.cause
    assert training.called.count(step) == 1
    assert noticed[0]["failure"]["Error"] == "KeyError"
    assert noticed[0]["tenant"] == "acme"


def test_a_notice_that_fails_hides_nothing(training: Training) -> None:
    training.steps["evaluate"] = raising(ValueError("too few events"))
    training.steps["notify"] = raising(RuntimeError("no mail"))
    execution = training.run({"good": True})
    assert (execution.status, execution.error) == ("FAILED", "ValueError")


@pytest.mark.parametrize("tenant", ["_system", "No Tenant"])
def test_a_run_of_no_tenant_fails_and_touches_nothing(tmp_path: Path, tenant: str) -> None:
    functions: dict[str, Any] = {}
    home = local_home(tmp_path, functions=functions)
    functions["TrainingFunction"] = task(home, TRAINING)
    # As an operator starts one by hand, who is asked for no tenant by anything of ours.
    home.machines.start("training", "by-hand", {"trigger": "manual", "tenant": tenant})
    home.machines._threads["training", "by-hand"].join(60)
    end = home.machines.describe("training", "by-hand")
    assert (end.status, end.error) == ("FAILED", "ValidationError")
    assert "tenant" in (end.cause or "")
    assert [*(tmp_path / "blobs").iterdir()] == [*(tmp_path / "scratch").iterdir()] == []


def test_a_document_too_large_for_step_functions_fails(training: Training) -> None:
    training.steps["preprocess"] = lambda run: {**run, "all": "x" * 300_000}
    execution = training.run({"good": True})
    assert (execution.status, execution.error) == ("FAILED", "DataLimitExceeded")


def test_an_execution_is_still_known_after_a_restart(training: Training, tmp_path: Path) -> None:
    execution = training.run({"good": True})
    again = local_home(tmp_path).open("acme").executions
    assert again.describe("training", "run") == execution


def test_a_malformed_definition_fails(tmp_path: Path) -> None:
    (tmp_path / "training.asl.json").write_text('{"StartAt": "Nowhere", "States": {}}')
    home = local_home(tmp_path / "state", definitions=tmp_path)
    executions = home.open("acme").executions
    executions.start("training", "run", {})
    home.machines.wait("training", "acme", "run", 30)
    assert executions.describe("training", "run").status == "FAILED"


def test_a_placeholder_that_nothing_fills_is_refused(tmp_path: Path) -> None:
    home: LocalHome = local_home(tmp_path)
    with pytest.raises(Refused):
        home.open("acme").executions.start("training", "run", {})
    with pytest.raises(Missing):
        home.open("acme").executions.describe("training", "run")


def test_every_task_is_tried_again_and_caught() -> None:
    """What a new state easily forgets. The branches of Fit are caught by Fit itself."""
    definition = orjson.loads(DEFINITION.read_bytes())
    states = definition["States"]
    branches = {
        name: state for b in states["Fit"]["Branches"] for name, state in b["States"].items()
    }
    tasks = {n: s for n, s in {**states, **branches}.items() if s["Type"] == "Task"}
    retries = {n: s["Retry"] for n, s in tasks.items() if n != "Notify"}
    assert len(retries) == 6
    assert len({orjson.dumps(r) for r in retries.values()}) == 1
    for name, state in {**states, **branches}.items():
        if state["Type"] in {"Task", "Parallel"} and name not in branches:
            assert state["Catch"][0]["ErrorEquals"] == ["States.ALL"]
        if state["Type"] == "Task":
            words = re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()
            assert state["Parameters"]["Payload"] == {"step": words, "run.$": "$"}


def test_a_release_is_asked_about_until_it_is_done(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WaitFunction, "_wait_interval", lambda *_, **__: None)

    def release(run: dict[str, Any]) -> dict[str, Any]:
        asked = run.get("asked", 0) + 1
        return {**run, "asked": asked, "released": asked == 3}

    training.steps["release"] = release
    execution = training.run({"run_id": "r", "good": True})
    assert execution.status == "SUCCEEDED"
    assert training.called[-3:] == ["release"] * 3


def test_a_run_that_never_ends_is_ended(tmp_path: Path) -> None:
    definition = orjson.loads(DEFINITION.read_bytes()) | {"TimeoutSeconds": 1}
    (tmp_path / "training.asl.json").write_bytes(orjson.dumps(definition))
    ended = Event()
    functions = {"TrainingFunction": lambda event, context: ended.wait(60)}
    home = local_home(tmp_path / "state", functions=functions, definitions=tmp_path)
    executions = home.open("acme").executions
    executions.start("training", "run", {})
    assert home.machines.wait("training", "acme", "run", 30)
    ended.set()
    assert executions.describe("training", "run").status == "TIMED_OUT"


def test_states_run_into_their_own_limits_first() -> None:
    """What a state's limit ends is caught, and told with its name."""
    definition = orjson.loads(DEFINITION.read_bytes())
    states = definition["States"]
    in_turn = [s["TimeoutSeconds"] for s in states.values() if s["Type"] == "Task"]
    beside = [s for b in states["Fit"]["Branches"] for s in b["States"].values()]
    longest = sum(in_turn) + max(s["TimeoutSeconds"] for s in beside)
    assert longest < definition["TimeoutSeconds"] <= 2 * 86_400


def test_a_release_that_is_withdrawn_is_a_failure_that_is_told(training: Training) -> None:
    training.steps["release"] = raising(Withdrawn("the alarm went off"))
    execution = training.run({"run_id": "r", "good": True})
    assert (execution.status, execution.error) == ("FAILED", "Withdrawn")
    assert training.called[-1] == "notify"
