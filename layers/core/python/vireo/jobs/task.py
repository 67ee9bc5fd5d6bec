"""The function behind every state of a state machine; takes the step's name and a run document."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from vireo.jobs.steps import Machine
from vireo.ports import Home

_LOG = logging.getLogger("vireo.jobs")


def lines(step: str, share: float | None, what: str) -> None:
    """Progress as log lines."""
    done = "" if share is None else f"{share:.0%}"
    _LOG.info("%s %4s %s", step, done, what)


def task(
    home: Home,
    machine: Machine[Any],
    progress: Callable[[str, float | None, str], None] = lines,
) -> Callable[[Mapping[str, Any], object], Mapping[str, Any]]:
    """The Lambda handler of a state machine; it opens the tenant that the run document names.

    It raises ValueError, and opens nothing, for what is no run document.

    Args:
        home: the home in which tenants are opened.
        machine: the state machine whose states call it.
        progress: called with the step, the share of it that is done, and the current activity.
    """

    def handler(event: Mapping[str, Any], context: object) -> Mapping[str, Any]:
        step, run = event["step"], event["run"]

        def told(share: float | None, what: str) -> None:
            progress(step, share, what)

        tenant = machine.document.of(run).tenant
        return machine.perform(step, run, home.open(tenant), told)

    return handler
