"""A training run begins with whatever an execution is started with: nothing, a trigger, or all.

The deployed machine, the function behind it and its bookkeeping are the real ones; what takes
minutes, the work of each step, is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.sources import ROOT
from vireo.homes.local import LocalHome
from vireo.homes.local import home as local_home
from vireo.homes.local.interpreter import interpret
from vireo.jobs.task import task
from vireo.ports import Execution, Ports
from vireo.training.run import Decision, Run
from vireo.training.steps import TRAINING

Start = Callable[[Mapping[str, Any]], Execution]
#: As Step Functions names an execution that is started without a name.
NAME = "6e1d0f2c-3a57-4f4e-9d8a-2f6f1a9be3d1"


@pytest.fixture
def home(tmp_path: Path) -> LocalHome:
    return local_home(tmp_path)


@pytest.fixture
def start(home: LocalHome, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Runs the machine as AWS does: with the input as it is, and no tenant but what it says."""
    decided = {"decision": Decision(deploy=True)}
    made: dict[str, dict[str, Any]] = {"evaluate": decided, "deploy": {"version": "b1"}}
    for name in ("preprocess", "two_tower", "ranker", "evaluate", "deploy"):

        def step(run: Run, ports: Ports, progress: Any, name: str = name) -> Run:
            return run.with_artifact(name).model_copy(update=made.get(name, {}))

        monkeypatch.setitem(TRAINING.steps, name, step)
    definition = (ROOT / "statemachines/training.asl.json").read_text()

    def run(document: Mapping[str, Any]) -> Execution:
        functions = {"${TrainingFunction}": task(home, TRAINING)}
        return interpret("training", NAME, definition, document, functions)

    return run


def run_of(execution: Execution) -> Run:
    assert execution.status == "SUCCEEDED", execution.cause
    return Run.of(execution.output or {})


@pytest.mark.parametrize("document", [{}, {"trigger": "manual"}])
def test_nothing_need_be_said(start: Start, home: LocalHome, document: dict[str, Any]) -> None:
    run = run_of(start(document))
    assert (run.run_id, run.tenant, run.trigger) == (NAME, "default", "manual")
    assert home.open("default").blobs.read(f"runs/{NAME}/deploy.json")


def test_what_is_said_counts(start: Start, home: LocalHome) -> None:
    given = {"run_id": "again", "tenant": "acme", "seed": 7, "config": {"tower": {"epochs": 3}}}
    run = run_of(start(given))
    assert run.model_dump().items() >= given.items()
    assert home.open("acme").blobs.read("runs/again/deploy.json")
    assert run_of(start({"tenant": "acme"})).tenant == "acme"
    assert run_of(start({"run_id": "mine"})).run_id == "mine"


@pytest.mark.parametrize("trigger", ["schedule", "deploy"])
def test_what_the_schedule_and_deploy_sh_say_counts(start: Start, trigger: str) -> None:
    document = {"run_id": f"{trigger}-1", "tenant": "default", "trigger": trigger, "config": {}}
    run = run_of(start(document))
    assert run.model_dump().items() >= document.items()


@pytest.mark.parametrize("document", [{"triger": "manual"}, {"run_id": None}, {"tenant": ""}])
def test_what_is_no_run_document_fails(start: Start, document: dict[str, Any]) -> None:
    assert start(document).status == "FAILED"
