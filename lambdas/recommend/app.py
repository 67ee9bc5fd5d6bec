"""The recommender's API, with a recommender for every tenant of a home, and its error codes."""

from __future__ import annotations

from collections.abc import Iterable

from recommend.routes import routes
from vireo.api import Api
from vireo.catalogue.store import UnknownVideo
from vireo.ports import Home
from vireo.recommender.export import UnknownPerson
from vireo.recommender.service import Recommender
from vireo.recommender.serving import NoModel
from vireo.recommender.users import UnknownUser
from vireo.tenants import Tenants

MEANINGS: dict[type[Exception], tuple[int, str]] = {
    NoModel: (503, "no_model"),
    UnknownVideo: (404, "unknown_video"),
    UnknownUser: (404, "unknown_user"),
    UnknownPerson: (404, "unknown_user"),
}


def include(api: Api, home: Home, loaded: Iterable[str] = ()) -> None:
    """Add the recommender's routes to an API; see `build`."""
    tenants = Tenants(home, Recommender)
    for tenant in loaded:
        tenants(tenant).load()

    def service(user_id: str | None) -> Recommender:
        return tenants(api.caller(user_id).tenant)

    api.include_router(routes(service, lambda: api.request_id))


def build(home: Home, loaded: Iterable[str] = ()) -> Api:
    """The API in a home.

    Args:
        home: the home in which tenants are opened.
        loaded: tenants whose model is loaded now, for a snapshot of this process; others are loaded
            with their first request. Raises `NoModel` if one cannot be loaded.
    """
    api = Api(home, MEANINGS, "recommend")
    include(api, home, loaded)
    return api
