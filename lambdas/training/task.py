"""The function behind every state of training: a step and a run document in, a document out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from vireo.ports import Home
from vireo.training.steps import perform

_LOG = logging.getLogger("vireo.training")


def lines(step: str, share: float, what: str) -> None:
    """Progress as lines of a log."""
    _LOG.info("%s %3.0f%% %s", step, 100 * share, what)


def task(
    home: Home, progress: Callable[[str, float, str], None] = lines
) -> Callable[[Mapping[str, Any], object], Mapping[str, Any]]:
    """The function, in the home of the tenant that each run document names.

    Args:
        home: of all tenants.
        progress: is told the step, the share of it that is done, and what is being done.
    """

    def handler(event: Mapping[str, Any], context: object) -> Mapping[str, Any]:
        step, run = event["step"], event["run"]

        def told(share: float, what: str) -> None:
            progress(step, share, what)

        return perform(step, run, home.open(run["tenant"]), told)

    return handler
