"""The run document of the training state machine."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from vireo.jobs.run import RunDocument


class Decision(BaseModel):
    """What the gates said; ``deploy`` is what the state machine's Choice reads."""

    model_config = ConfigDict(frozen=True)

    deploy: bool
    reasons: tuple[str, ...] = ()  #: of a refusal
    left_out: tuple[str, ...] = ()  #: comparisons with production that could not be made, and why


class Run(RunDocument):
    """One run of training; ``config`` overrides `RecipeConfig`."""

    gates: dict[str, Any] = Field(default_factory=dict, description="overrides of Thresholds")
    #: Where `training.data.requests.boundaries` cuts the log; None until preprocess has chosen.
    cut: float | None = Field(default=None, gt=0, lt=1)
    decision: Decision | None = None
    version: str | None = Field(default=None, description="of the bundle that was published")
    #: The release that is under way, and whether it is done; $.released is what a Choice reads.
    release: str | None = None
    released: bool = False
