"""The recommender's API: a recommender for every tenant of a home, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from recommend.routes import routes
from vireo.api import Api
from vireo.ports import Home
from vireo.recommender.catalogue import UnknownVideo
from vireo.recommender.models import Health
from vireo.recommender.service import Recommender
from vireo.recommender.serving import NoModel
from vireo.recommender.viewers import UnknownUser

MEANINGS: dict[type[Exception], tuple[int, str]] = {
    NoModel: (503, "no_model"),
    UnknownVideo: (404, "unknown_video"),
    UnknownUser: (404, "unknown_user"),
}


def include(api: Api, home: Home, loaded: Iterable[str] = ()) -> None:
    """Put the recommender's routes into an API; see `build`."""
    tenants = {tenant: Recommender(home.open(tenant)) for tenant in loaded}
    for recommender in tenants.values():
        recommender.load()
    lock = Lock()

    def service(user_id: str | None) -> Recommender:
        tenant = api.caller(user_id).tenant
        with lock:
            if tenant not in tenants:
                tenants[tenant] = Recommender(home.open(tenant))
            return tenants[tenant]

    def health() -> Health:
        """Healthy once a model was loaded; asks no store."""
        ready = any(recommender.ready for recommender in list(tenants.values()))
        return Health(status="ok" if ready else "starting")

    api.include_router(routes(service, lambda: api.request_id, health))


def build(home: Home, loaded: Iterable[str] = ()) -> Api:
    """The API in a home.

    Args:
        home: of all tenants.
        loaded: tenants whose model is loaded now, for a snapshot of this process; that of any other
            is loaded with its first request. Raises `NoModel` when one cannot be loaded.
    """
    api = Api(home, MEANINGS, "recommend")
    include(api, home, loaded)
    return api
