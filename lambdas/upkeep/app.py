"""The function of scheduled tasks: each schedule names its task and its tenant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vireo.ports import Home
from vireo.training import upkeep


def keeper(home: Home) -> Callable[[Mapping[str, Any], object], None]:
    """The handler of schedules. Raises ValueError for an unknown task."""

    def handler(event: Mapping[str, Any], context: object) -> None:
        match event:
            case {"task": "ages", "tenant": str(tenant)}:
                upkeep.tell_ages(home.open(tenant))
            case _:
                raise ValueError(f"no such task: {event}")

    return handler
