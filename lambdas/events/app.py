"""The events API, with an intake for every tenant of a home."""

from __future__ import annotations

from functools import partial

from events.routes import routes
from vireo.api import Api
from vireo.events.intake import MOST, Intake
from vireo.identity import Caller
from vireo.ports import Home
from vireo.tenants import Tenants


def include(api: Api, home: Home, most: int = MOST) -> None:
    """Add the routes of events to an API; see `build`."""
    tenants = Tenants(home, partial(Intake, most=most))

    def service(user_id: str | None) -> tuple[Intake, Caller]:
        caller = api.caller(user_id)
        return tenants(caller.tenant), caller

    api.include_router(routes(service))


def build(home: Home, most: int = MOST) -> Api:
    """The API in a home.

    Args:
        home: the home in which tenants are opened.
        most: events of one viewer that are taken in a minute.
    """
    api = Api(home, {}, "events")
    include(api, home, most)
    return api
