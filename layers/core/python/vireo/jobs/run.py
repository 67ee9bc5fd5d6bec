"""The run document: the small JSON that every state of a state machine takes and returns.

It lists the artifacts made and the decisions taken. Anything larger than a few kilobytes is a blob
to which the document only points. A step therefore needs nothing but the document and the ports,
can run in a Lambda or in a container of any size, and can be repeated after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from vireo.ports import TENANT


class RunDocument(BaseModel):
    """One run of a state machine; every machine adds the results of its own steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str = Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9._-]+$")
    tenant: str = Field("default", pattern=rf"^{TENANT}$")
    trigger: Literal["manual", "deploy", "schedule"] = "manual"
    seed: int = 1
    config: dict[str, Any] = Field(default_factory=dict, description="overrides of the settings")
    #: Prefix of an artifact's blobs, by name of the artifact.
    artifacts: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    #: Documents returned by parallel states; the next step merges them into one.
    branches: list[dict[str, Any]] = Field(default_factory=list)
    #: The failed step's error, added by the state machine's Catch.
    failure: dict[str, Any] | None = None

    def with_artifact(self, name: str) -> Self:
        """This run with the artifact ``name`` added, under a prefix of its own."""
        return self.model_copy(update={"artifacts": {**self.artifacts, name: self.prefix(name)}})

    def with_metrics(self, **metrics: Any) -> Self:
        """This run with metrics added."""
        return self.model_copy(update={"metrics": {**self.metrics, **metrics}})

    def prefix(self, name: str) -> str:
        """The prefix of the blobs of this run's artifact ``name``."""
        return f"runs/{self.run_id}/{name}"

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The run of a document, with the results of its parallel branches merged in.

        Branches start from the same run and only add to it, so their union is complete.

        Raises:
            ValueError: it is not a run document, or its branches belong to different runs.
        """
        run = cls.model_validate(document)
        branches = [cls.model_validate(b) for b in run.branches]
        if any((b.run_id, b.tenant) != (run.run_id, run.tenant) for b in branches):
            raise ValueError("the branches belong to different runs")
        return run.model_copy(
            update={
                "artifacts": {k: v for b in (run, *branches) for k, v in b.artifacts.items()},
                "metrics": {k: v for b in (run, *branches) for k, v in b.metrics.items()},
                "branches": [],
            }
        )
