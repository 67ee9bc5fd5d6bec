"""The function of scheduled tasks: each schedule names its task and its tenant."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from vireo.identity import tenants
from vireo.ports import TENANT, Home
from vireo.training import upkeep
from vireo.training.upkeep import KEPT, Kept

log = logging.getLogger(__name__)


def keeper(home: Home, kept: Kept = KEPT) -> Callable[[Mapping[str, Any], object], None]:
    """The handler of schedules. Raises ValueError for an unknown task, and for no tenant's name."""

    def handler(event: Mapping[str, Any], context: object) -> None:
        match event:
            case {"tenant": str(tenant)} if not re.fullmatch(TENANT, tenant):
                raise ValueError(f"not a tenant: {tenant!r}")
            case {"task": "ages", "tenant": str(tenant)}:
                upkeep.tell_ages(home.open(tenant))
            case {"task": "tidy", "tenant": str(tenant)}:
                tidy(home, tenant, kept)
            case _:
                raise ValueError(f"no such task: {event}")

    return handler


def tidy(home: Home, tenant: str, kept: Kept = KEPT) -> None:
    """Tidy up after a tenant, and after all that have clients.

    Raises:
        ExceptionGroup: what failed, after everything else was done.
    """
    failed: list[Exception] = []

    def attempt(what: Callable[[], None], name: str) -> None:
        try:
            what()
        except Exception as error:
            log.exception("tidying up failed: %s", name)
            failed.append(error)

    names: set[str] = {tenant}
    attempt(lambda: names.update(tenants(home)), "who the tenants are")
    for name in sorted(names):
        attempt(partial(_tidy, home, name, kept), name)
    attempt(lambda: upkeep.forget_versions(home.open(tenant), kept), "versions of functions")
    if failed:
        raise ExceptionGroup("tidying up", failed)


def _tidy(home: Home, tenant: str, kept: Kept) -> None:
    upkeep.tidy(home.open(tenant), kept)
