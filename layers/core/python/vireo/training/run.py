"""The run document of the training state machine."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from vireo.jobs.run import RunDocument


class Decision(BaseModel):
    """The decision of the gates; the state machine's Choice reads ``deploy``."""

    model_config = ConfigDict(frozen=True)

    deploy: bool
    reasons: tuple[str, ...] = ()  #: reasons of a refusal
    left_out: tuple[str, ...] = ()  #: comparisons with production that were impossible, and why


class Run(RunDocument):
    """One run of training; ``config`` overrides `RecipeConfig`."""

    gates: dict[str, Any] = Field(default_factory=dict, description="overrides of Thresholds")
    #: The ``cut`` of `training.data.requests.boundaries`, chosen by preprocess.
    cut: float | None = Field(default=None, gt=0, lt=1)
    decision: Decision | None = None
    version: str | None = Field(default=None, description="of the bundle that was published")
    #: The release in progress, and whether it is finished, which a Choice reads as $.released.
    release: str | None = None
    released: bool = False
