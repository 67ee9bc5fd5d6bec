"""The run document: the small JSON that every state of a state machine takes and returns.

It names what was made and what was decided; whatever is larger than a few kilobytes is a blob that
the document only points to. So a step needs nothing but the document and the ports, can run in a
Lambda or in a container of any size, and can be run again after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field


class RunDocument(BaseModel):
    """One run of a state machine; every machine adds what its own steps decide."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str = Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9._-]+$")
    tenant: str = "default"
    trigger: Literal["manual", "deploy", "schedule"] = "manual"
    seed: int = 1
    config: dict[str, Any] = Field(default_factory=dict, description="overrides of the settings")
    #: What was made: name of the artifact to the prefix of its blobs.
    artifacts: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    #: What the parallel states returned; the step that follows them merges it away.
    branches: list[dict[str, Any]] = Field(default_factory=list)
    #: Where Catch puts the error of the step that failed.
    failure: dict[str, Any] | None = None

    def with_artifact(self, name: str) -> Self:
        """This run with ``name`` under its own prefix."""
        return self.model_copy(update={"artifacts": {**self.artifacts, name: self.prefix(name)}})

    def with_metrics(self, **metrics: Any) -> Self:
        """This run with more metrics."""
        return self.model_copy(update={"metrics": {**self.metrics, **metrics}})

    def prefix(self, name: str) -> str:
        """Where the blobs of an artifact of this run live."""
        return f"runs/{self.run_id}/{name}"

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The run of a document, with what parallel branches added to it.

        Branches start from the same run and only add, so their union loses nothing.

        Raises:
            ValueError: it is no run document, or its branches belong to different runs.
        """
        run = cls.model_validate(document)
        branches = [cls.model_validate(b) for b in run.branches]
        if any(b.run_id != run.run_id for b in branches):
            raise ValueError("the branches belong to different runs")
        return run.model_copy(
            update={
                "artifacts": {k: v for b in (run, *branches) for k, v in b.artifacts.items()},
                "metrics": {k: v for b in (run, *branches) for k, v in b.metrics.items()},
                "branches": [],
            }
        )
