"""Steps of a state machine: each takes a run document and returns one, and runs only once.

The document returned by a finished step is kept as a blob, so a state machine that is started again
after a crash continues where it was.
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
    """The steps of one state machine, by name."""

    document: type[R]
    steps: Mapping[str, Step[R]]
    #: Steps that run at every call, even if they have run before.
    again: frozenset[str] = frozenset()

    def perform(
        self, name: str, document: Mapping[str, Any], ports: Ports, progress: Progress
    ) -> dict[str, Any]:
        """Run a step by name, or return the result of its earlier run."""
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
