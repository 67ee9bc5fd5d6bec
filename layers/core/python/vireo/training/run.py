"""The run document: the small JSON that every state of the training state machine takes and returns.

It names what was made and what was decided; whatever is larger than a few kilobytes is a blob that
the document only points to. So a step needs nothing but the document and the ports, can run in a
Lambda or in a container of any size, and can be run again after a crash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

#: The steps of ``statemachines/training.asl.json``, in order (two_tower and ranker in parallel).
STEP_NAMES = ("preprocess", "two_tower", "ranker", "evaluate", "deploy", "notify")


class Decision(BaseModel):
    """What the gates said; ``deploy`` is what the state machine's Choice reads."""

    model_config = ConfigDict(frozen=True)

    deploy: bool
    reasons: tuple[str, ...] = ()


class Run(BaseModel):
    """One run of the training state machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str = Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9._-]+$")
    tenant: str = "default"
    trigger: Literal["manual", "deploy", "schedule"] = "manual"
    config: dict[str, Any] = Field(default_factory=dict, description="overrides of RecipeConfig")
    #: What was made: name of the artifact to the prefix of its blobs.
    artifacts: dict[str, str] = Field(default_factory=dict)
    metrics: dict[str, Any] = Field(default_factory=dict)
    decision: Decision | None = None
    version: str | None = Field(default=None, description="of the bundle that was published")
    error: dict[str, Any] | None = None

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
    def merged(cls, document: Mapping[str, Any] | list[Mapping[str, Any]]) -> Self:
        """One run of a document, or of the list of documents that parallel branches return.

        Branches start from the same run and only add, so the union loses nothing.
        """
        if isinstance(document, list):
            runs = [cls.model_validate(d) for d in document]
            first = runs[0]
            if any(r.run_id != first.run_id for r in runs):
                raise ValueError("the branches belong to different runs")
            return first.model_copy(
                update={
                    "artifacts": {k: v for r in runs for k, v in r.artifacts.items()},
                    "metrics": {k: v for r in runs for k, v in r.metrics.items()},
                }
            )
        return cls.model_validate(document)
