"""Conversion of HTTP into the events of API Gateway (REST, Lambda proxy), and of answers back."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson

Scope = Mapping[str, Any]
#: The name of the stage, which stands before the path in a request's context.
STAGE = "live"


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    body: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Resource:
    """A path that the API has, with its parameters in braces."""

    path: str
    public: set[str] = field(default_factory=set)  #: methods that ask for no token

    def parameters(self, path: str) -> dict[str, str] | None:
        """The values of its parameters, as they were sent; None if the path is another's."""
        own, given = self.path.split("/"), path.rstrip("/").split("/")
        if len(own) != len(given):
            return None
        found = {}
        for name, part in zip(own, given, strict=True):
            if name.startswith("{") and part:
                found[name[1:-1]] = part
            elif name != part:
                return None
        return found


class Resources:
    """The paths of an API, from its operations: method, path, and whether it asks for no token."""

    def __init__(self, operations: Iterable[tuple[str, str, bool]]) -> None:
        found: dict[str, Resource] = {}
        for method, path, public in operations:
            resource = found.setdefault(path, Resource(path))
            if public:
                resource.public.add(method)
        # What is spelt out goes before a parameter.
        self._all = sorted(found.values(), key=lambda one: one.path.replace("{", "\U0010ffff"))

    def find(self, path: str) -> tuple[Resource, dict[str, str]] | None:
        """The resource of a path, and the values of its parameters; a last slash does not count."""
        for resource in self._all:
            if (parameters := resource.parameters(path)) is not None:
                return resource, parameters
        return None


def event_of(
    scope: Scope,
    path: str,
    found: tuple[Resource, Mapping[str, str]],
    *,
    body: bytes,
    claims: Mapping[str, Any] | None,
    request_id: str,
) -> dict[str, Any]:
    """The event of a request (payload format 1.0).

    As live captures of events show, a path and its parameters are handed on as they were sent,
    percent-encoded, and a query is decoded, ``+`` to a blank; of repeated names the last counts.

    Args:
        scope: of ASGI.
        path: as it was sent.
        found: the resource, and the values of its parameters.
        body: whole.
        claims: of the token, None for who needs none.
        request_id: of the gateway.
    """
    resource, parameters = found
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    query: dict[str, list[str]] = {}
    for key, text in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        query.setdefault(key, []).append(text)
    return {
        "resource": resource.path,
        "path": path,
        "httpMethod": scope["method"],
        "headers": {name: values[-1] for name, values in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": dict(parameters) or None,
        "stageVariables": None,
        "requestContext": _context(scope, path, resource.path, claims, request_id),
        # An API without binary media types: a body is text, and what is no UTF-8 gets replaced.
        "body": body.decode(errors="replace") if body else None,
        "isBase64Encoded": False,
    }


def _context(
    scope: Scope, path: str, resource: str, claims: Mapping[str, Any] | None, request_id: str
) -> dict[str, Any]:
    now = datetime.now(tz=UTC)
    agents = [value.decode("latin-1") for name, value in scope["headers"] if name == b"user-agent"]
    context = {
        "accountId": "000000000000",
        "apiId": "laptop",
        "httpMethod": scope["method"],
        "identity": {
            "sourceIp": (scope.get("client") or ("127.0.0.1", 0))[0],
            "userAgent": agents[-1] if agents else None,
        },
        "path": f"/{STAGE}{path}",
        "protocol": f"HTTP/{scope['http_version']}",
        "requestId": request_id,
        "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "requestTimeEpoch": int(now.timestamp() * 1000),
        "resourcePath": resource,
        "stage": STAGE,
    }
    if claims is not None:
        context["authorizer"] = {"claims": {k: _claim(k, v) for k, v in claims.items()}}
    return context


def _claim(name: str, value: Any) -> str:
    """A claim as API Gateway's Cognito authorizer hands it on: text, and moments as dates."""
    if name in {"exp", "iat"}:
        return datetime.fromtimestamp(value, tz=UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def answer_of(result: Mapping[str, Any]) -> Answer:
    """The HTTP response that a function's result stands for."""
    body = result.get("body") or ""
    data = base64.b64decode(body) if result.get("isBase64Encoded") else body.encode()
    headers = [(k, str(v)) for k, v in (result.get("headers") or {}).items()]
    for name, values in (result.get("multiValueHeaders") or {}).items():
        headers += [(name, str(value)) for value in values]
    wanted = [(k, v) for k, v in headers if k.lower() != "content-length"]
    return Answer(int(result["statusCode"]), data, wanted)
