"""The API of all services, which a laptop serves and docs/openapi.json documents."""

from __future__ import annotations

import events.app
import recommend.app
from vireo.api import Api
from vireo.ports import Home


def build(home: Home) -> Api:
    """The API in a home, with the routes of every service."""
    api = Api(home, recommend.app.MEANINGS)
    recommend.app.include(api, home)
    events.app.include(api, home)
    return api
