"""What executions do in every home."""

from __future__ import annotations

import time

import pytest

from vireo.ports import Conflict, Execution, Missing, Ports, Refused


def ended(ports: Ports, name: str) -> Execution:
    limit = time.monotonic() + 20
    while (execution := ports.executions.describe("training", name)).status == "RUNNING":
        assert time.monotonic() < limit
        time.sleep(0.02)
    return execution


def test_one_that_succeeds(ports: Ports, tenant: str) -> None:
    assert ports.executions.start("training", "run-1", {"how": "pass", "x": [1, "a"]}) == "run-1"
    assert ended(ports, "run-1") == Execution(
        "run-1", "SUCCEEDED", {"how": "pass", "x": [1, "a"], "tenant": tenant}
    )


def test_one_that_fails(ports: Ports) -> None:
    ports.executions.start("training", "run-1", {"how": "fail"})
    assert ended(ports, "run-1") == Execution("run-1", "FAILED", None, "TooBad", "as asked")


def test_a_name_is_taken_once(ports: Ports) -> None:
    ports.executions.start("training", "run-1", {"how": "wait"})
    assert ports.executions.describe("training", "run-1").status == "RUNNING"
    assert ports.executions.start("training", "run-1", {"how": "wait"}) == "run-1"
    with pytest.raises(Conflict):
        ports.executions.start("training", "run-1", {"how": "pass"})
    assert ended(ports, "run-1").status == "SUCCEEDED"
    with pytest.raises(Conflict):
        ports.executions.start("training", "run-1", {"how": "wait"})


def test_missing(ports: Ports) -> None:
    with pytest.raises(Missing):
        ports.executions.describe("training", "never")
    with pytest.raises(Missing):
        ports.executions.start("unknown", "run", {})
    with pytest.raises(Missing):
        ports.executions.describe("unknown", "run")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", "a" * 48, "a\n"])
def test_names_that_are_none(ports: Ports, name: str) -> None:
    with pytest.raises(Refused):
        ports.executions.start("training", name, {})
    with pytest.raises(Refused):
        ports.executions.describe("training", name)


@pytest.mark.parametrize("document", [{"x": "x" * 300_000}, {"x": object()}])
def test_documents_that_are_none(ports: Ports, document: dict[str, object]) -> None:
    with pytest.raises(Refused):
        ports.executions.start("training", "run", document)
    with pytest.raises(Missing):
        ports.executions.describe("training", "run")
