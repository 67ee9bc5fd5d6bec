"""The function behind every state of training: a step and a run document in, a document out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vireo.training.steps import STEPS

from vireo.ports import Home


def task(home: Home) -> Callable[[Mapping[str, Any], object], Mapping[str, Any]]:
    """The function, in the home of the tenant that each run document names."""

    def handler(event: Mapping[str, Any], context: object) -> Mapping[str, Any]:
        run = event["run"]
        return STEPS[event["step"]](run, home.open(run["tenant"]))

    return handler
