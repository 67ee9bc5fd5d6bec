"""Steps are done once, unless they failed or are to be done again."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from vireo.homes.clock import MovableClock
from vireo.homes.local import home
from vireo.jobs.progress import Progress, counted, silent, within
from vireo.jobs.run import RunDocument
from vireo.jobs.steps import Machine
from vireo.jobs.task import task
from vireo.ports import Ports
from vireo.training.steps import TRAINING


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    return home(tmp_path, clock=MovableClock()).open("default")


class Counting:
    """A machine whose one step counts how often it is done, and fails so often first."""

    def __init__(self, failures: int = 0) -> None:
        self.done: list[str] = []
        self._failures = failures
        self.machine = Machine(
            RunDocument, {"count": self._count, "again": self._count}, again=frozenset({"again"})
        )

    def _count(self, run: RunDocument, ports: Ports, progress: Progress) -> RunDocument:
        self.done.append(run.run_id)
        progress(None, "counting")
        if len(self.done) <= self._failures:
            raise OSError("the disk is full")
        return run.with_metrics(call=len(self.done))


def test_a_finished_step_is_not_done_again(ports: Ports) -> None:
    counting = Counting()
    first = counting.machine.perform("count", {"run_id": "a"}, ports, silent)
    assert counting.machine.perform("count", {"run_id": "a"}, ports, silent) == first
    assert counting.done == ["a"]
    assert first["metrics"] == {"call": 1}
    other = counting.machine.perform("count", {"run_id": "b"}, ports, silent)
    assert (counting.done, other["metrics"]) == (["a", "b"], {"call": 2})


def test_a_step_that_failed_is_done_again(ports: Ports) -> None:
    counting = Counting(failures=1)
    with pytest.raises(OSError, match="disk"):
        counting.machine.perform("count", {"run_id": "a"}, ports, silent)
    done = counting.machine.perform("count", {"run_id": "a"}, ports, silent)
    assert (done["metrics"], len(counting.done)) == ({"call": 2}, 2)


def test_what_is_to_be_done_again_is(ports: Ports) -> None:
    counting = Counting()
    for _ in range(2):
        counting.machine.perform("again", {"run_id": "a"}, ports, silent)
    assert counting.done == ["a", "a"]


def test_every_failure_of_training_is_told(ports: Ports) -> None:
    for error in ("ValueError", "KeyError"):
        document = {"run_id": "a", "failure": {"Error": error, "Cause": "…"}}
        TRAINING.perform("notify", document, ports, silent)
        assert orjson.loads(ports.blobs.read("runs/a/failure.json"))["Error"] == error


def test_a_function_works_in_the_home_of_the_tenant_that_is_named(tmp_path: Path) -> None:
    opened = home(tmp_path, clock=MovableClock())
    told: list[tuple[str, float | None, str]] = []
    counting = Counting()
    function = task(opened, counting.machine, lambda *progress: told.append(progress))
    function({"step": "count", "run": {"run_id": "a", "tenant": "acme"}}, None)
    assert list(opened.open("acme").blobs.names("runs/")) == ["runs/a/count.json"]
    assert list(opened.open("default").blobs.names()) == []
    assert told == [("count", None, "counting")]


def test_progress_of_a_part_is_progress_of_the_whole() -> None:
    told: list[tuple[float | None, str]] = []
    part = within(lambda *progress: told.append(progress), 0.5, 1.0, "storing ")
    counted(part, "videos")(1_000, 4_000)
    counted(part, "viewers")(0, 0)
    part(None, "something")
    assert told == [
        (0.625, "storing videos: 1,000 of 4,000"),
        (1.0, "storing viewers: 0 of 0"),
        (None, "storing something"),
    ]
