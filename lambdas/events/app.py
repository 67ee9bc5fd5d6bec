"""The events API, with an intake for every tenant of a home."""

from __future__ import annotations

from events.routes import routes
from vireo.api import Api
from vireo.events.intake import Intake
from vireo.identity import Caller
from vireo.ports import Home
from vireo.tenants import Tenants


def include(api: Api, home: Home) -> None:
    """Add the routes of events to an API."""
    tenants = Tenants(home, Intake)

    def service(user_id: str | None) -> tuple[Intake, Caller]:
        caller = api.caller(user_id)
        return tenants(caller.tenant), caller

    api.include_router(routes(service))


def build(home: Home) -> Api:
    """The API in a home."""
    api = Api(home, {}, "events")
    include(api, home)
    return api
