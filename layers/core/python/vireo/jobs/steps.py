"""Steps of a state machine: a run document in, a run document out, and none done twice.

A step that has finished is not done again: its document is kept as a blob, so a state machine that
is started again after a crash goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson

from vireo.jobs.progress import Progress
from vireo.jobs.run import RunDocument
from vireo.ports import Missing, Ports

R = TypeVar("R", bound=RunDocument)
Step = Callable[[R, Ports, Progress], R]


@dataclass(frozen=True)
class Machine(Generic[R]):
    """What the states of one state machine do."""

    document: type[R]
    steps: Mapping[str, Step[R]]
    #: Steps that are done whenever they are asked for, whatever they returned before.
    again: frozenset[str] = frozenset()

    def perform(
        self, name: str, document: Mapping[str, Any], ports: Ports, progress: Progress
    ) -> dict[str, Any]:
        """Run a step by name, or return what it returned when it was run before."""
        run = self.document.of(document)
        if name in self.again:
            return self.steps[name](run, ports, progress).model_dump(mode="json")
        kept = run.prefix(f"{name}.json")
        try:
            done: dict[str, Any] = orjson.loads(ports.blobs.read(kept))
            return done
        except Missing:
            pass
        done = self.steps[name](run, ports, progress).model_dump(mode="json")
        ports.blobs.write(kept, orjson.dumps(done))
        return done
