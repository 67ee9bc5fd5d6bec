"""The function behind every state of a state machine: a step's name and a run document in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from vireo.jobs.steps import Machine
from vireo.ports import Home

_LOG = logging.getLogger("vireo.jobs")


def lines(step: str, share: float | None, what: str) -> None:
    """Progress as lines of a log."""
    done = "" if share is None else f"{share:.0%}"
    _LOG.info("%s %4s %s", step, done, what)


def task(
    home: Home,
    machine: Machine[Any],
    progress: Callable[[str, float | None, str], None] = lines,
) -> Callable[[Mapping[str, Any], object], Mapping[str, Any]]:
    """The function, in the home of the tenant that each run document names.

    Args:
        home: of all tenants.
        machine: whose states call it.
        progress: is told the step, the share of it that is done, and what is being done.
    """

    def handler(event: Mapping[str, Any], context: object) -> Mapping[str, Any]:
        step, run = event["step"], event["run"]

        def told(share: float | None, what: str) -> None:
            progress(step, share, what)

        return machine.perform(step, run, home.open(run["tenant"]), told)

    return handler
