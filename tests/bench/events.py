"""What all parts of the bench share: where a world is, when it is asked, and with which events."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from vireo.bundles import manifest
from vireo.homes.clock import SystemClock
from vireo.recommender.features import FEATURES
from vireo.recommender.slate import SOURCES

TENANT, CLIENT = "bench", "bench-client"
#: When all worlds are asked: fixed, so that a cached world is asked what a new one would be.
NOW = 1_700_000_000.0
#: Viewers of every world: ``viewer-0``, …
VIEWERS = 500
LIMIT = 20


def made_of() -> str:
    """A word that changes with whatever a world is made by, so that no old one is asked."""
    recipe = [Path(__file__).with_name(name).read_text() for name in ("world.py", "ranker.py")]
    seed = repr((recipe, FEATURES, SOURCES, manifest.SCHEMA))
    return sha256(seed.encode()).hexdigest()[:8]


def folder_of(n: int, cache: Path) -> Path:
    """The home of the world of n videos."""
    return cache / f"world-{n}-{made_of()}"


class BenchClock(SystemClock):
    """Time begins at `NOW` and goes on, so pauses and windows are the same in every run."""

    def __init__(self) -> None:
        self._began = self.monotonic()

    def now(self) -> float:
        """Unix seconds."""
        return NOW + self.monotonic() - self._began


def event_of(user: str, number: int) -> dict[str, Any]:
    """What API Gateway sends for a request of a client of the bench."""
    body = {"user_id": user, "limit": LIMIT, "context": {"device": "tv"}}
    claims = {
        "token_use": "access",
        "client_id": CLIENT,
        "sub": CLIENT,
        "exp": str(int(NOW) + 86400),
        "scope": "vireo/recommend",
    }
    return {
        "resource": "/{proxy+}",
        "path": "/v1/recommendations",
        "httpMethod": "POST",
        "headers": {"content-type": "application/json"},
        "multiValueHeaders": {"content-type": ["application/json"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {
            "requestId": f"request-{number}",
            "path": "/v1/recommendations",
            "stage": "$default",
            "authorizer": {"claims": claims},
        },
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }
