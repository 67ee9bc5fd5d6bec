"""The API of events: an intake for every tenant of a home."""

from __future__ import annotations

from threading import Lock

from events.routes import routes
from vireo.api import Api
from vireo.events.intake import Intake
from vireo.identity import Caller
from vireo.ports import Home


def include(api: Api, home: Home) -> None:
    """Put the routes of events into an API."""
    tenants: dict[str, Intake] = {}
    lock = Lock()

    def service(user_id: str | None) -> tuple[Intake, Caller]:
        caller = api.caller(user_id)
        with lock:
            if caller.tenant not in tenants:
                tenants[caller.tenant] = Intake(home.open(caller.tenant))
            return tenants[caller.tenant], caller

    api.include_router(routes(service))


def build(home: Home) -> Api:
    """The API in a home."""
    api = Api(home, {}, "events")
    include(api, home)
    return api
