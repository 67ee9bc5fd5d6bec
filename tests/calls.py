"""Calls of the API as API Gateway makes them."""

from __future__ import annotations

import json
from typing import Any

from stacks.routes import routes
from tests.worlds import NOW
from vireo.api import Api
from vireo.homes.local.proxy import STAGE, Resource, Resources
from vireo.problems import ErrorBody

RESOURCES = Resources((route.method, route.path, route.scope is None) for route in routes())

READ = "vireo/recommend vireo/catalogue.read vireo/users.read"
WRITE = "vireo/catalogue.write vireo/users.write"
ROUTES = [
    ("POST", "/v1/recommendations", {"user_id": "anna"}, "vireo/recommend"),
    ("GET", "/v1/videos/v2/similar", None, "vireo/recommend"),
    ("GET", "/v1/trending", None, "vireo/recommend"),
    ("PUT", "/v1/videos/v1", {"title": "One"}, "vireo/catalogue.write"),
    ("GET", "/v1/videos/v1", None, "vireo/catalogue.read"),
    (
        "POST",
        "/v1/videos/batch",
        {"videos": [{"video_id": "x", "title": "X"}]},
        "vireo/catalogue.write",
    ),
    ("DELETE", "/v1/videos/v1", None, "vireo/catalogue.write"),
    ("PUT", "/v1/users/anna", {"age": 30}, "vireo/users.write"),
    ("GET", "/v1/users/anna", None, "vireo/users.read"),
    ("GET", "/v1/users/anna/export", None, "vireo/users.read"),
    ("DELETE", "/v1/users/anna", None, "vireo/users.write"),
]


def claims(**more: Any) -> dict[str, Any]:
    return {
        "token_use": "access",
        "client_id": "machine",
        "sub": "machine",
        "exp": str(int(NOW) + 3600),
        "scope": f"{READ} {WRITE}",
    } | more


def call(
    api: Api, method: str, path: str, body: Any = None, **more: Any
) -> tuple[int, dict[str, Any]]:
    answer = api.resolve(event_of(method, path, body, **more), None)
    if answer["statusCode"] >= 400:
        ErrorBody.model_validate_json(answer["body"])
    return answer["statusCode"], json.loads(answer["body"])


def event_of(
    method: str,
    path: str,
    body: Any = None,
    *,
    token: dict[str, Any] | None = None,
    query: dict[str, str | list[str]] | None = None,
    content_type: str = "application/json",
    request_id: str = "r-1",
    encoded: bool = False,
) -> dict[str, Any]:
    """What API Gateway sends: the path as it was sent, and values of a query decoded."""
    resource, parameters = RESOURCES.find(path) or (Resource(path), {})
    many = {k: [v] if isinstance(v, str) else v for k, v in (query or {}).items()}
    return {
        "resource": resource.path,
        "path": path,
        "httpMethod": method,
        "headers": {"Content-Type": content_type},
        "multiValueHeaders": {"Content-Type": [content_type]},
        "queryStringParameters": {k: v[-1] for k, v in many.items()} or None,
        "multiValueQueryStringParameters": many or None,
        "pathParameters": parameters or None,
        "stageVariables": None,
        "requestContext": {
            "requestId": request_id,
            "httpMethod": method,
            "path": f"/{STAGE}{path}",
            "resourcePath": resource.path,
            "stage": STAGE,
            "authorizer": {"claims": claims() if token is None else token},
        },
        "body": body if body is None or isinstance(body, str) else json.dumps(body),
        "isBase64Encoded": encoded,
    }
