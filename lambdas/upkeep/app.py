"""What runs by the clock: each schedule names its task, and the tenants that it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vireo.ports import Home
from vireo.training import upkeep


def keeper(home: Home) -> Callable[[Mapping[str, Any], object], None]:
    """A handler of the schedules' inputs. Raises ValueError for a task that it does not know."""

    def handler(event: Mapping[str, Any], context: object) -> None:
        match event:
            case {"task": "ages", "tenant": str(tenant)}:
                upkeep.tell_ages(home.open(tenant))
            case _:
                raise ValueError(f"no such task: {event}")

    return handler
