"""API Gateway on a laptop: it turns HTTP requests into the events that Lambda gets.

Like API Gateway it verifies the token before the service runs, accepts bodies up to 10 MB and waits
at most 29 s. Unlike it, it serves the documentation page.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import orjson
import uvicorn

from vireo.homes.local.documentation import page
from vireo.identity import Unauthenticated

_LOG = logging.getLogger("vireo.access")
BODY_BYTES = 10 * 1024 * 1024
SECONDS = 29.0
#: Paths that need no token.
PUBLIC = frozenset({"/health", "/docs", "/openapi.json"})

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Handler = Callable[[dict[str, Any], Any], Mapping[str, Any]]
Verify = Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    body: bytes
    headers: list[tuple[str, str]] = field(default_factory=list)


class Denied(Exception):
    """A response of the gateway itself, without calling the service."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Context:
    """The context of an invocation, as Lambda passes it to a handler."""

    aws_request_id: str
    deadline: float  #: monotonic seconds
    function_name: str = "vireo"
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 1024
    invoked_function_arn: str = "arn:aws:lambda:laptop:000000000000:function:vireo"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the gateway's timeout."""
        return max(int((self.deadline - time.monotonic()) * 1000), 0)


class Gateway:
    """An ASGI application in front of a Lambda handler.

    Args:
        handler: the Lambda handler.
        verify: returns the claims of a token; raises `Unauthenticated`.
        openapi: the service's OpenAPI document as JSON.
        seconds: time limit of a request.
        threads: number of requests that run at once.
    """

    def __init__(
        self,
        handler: Handler,
        verify: Verify,
        *,
        openapi: Callable[[], str] = lambda: "{}",
        seconds: float = SECONDS,
        threads: int = 32,
    ) -> None:
        self._handler = handler
        self._verify = verify
        self._openapi = openapi
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI entry point."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise ValueError(f"no {scope['type']} here")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                self._threads.shutdown(wait=False, cancel_futures=True)
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        request_id = str(uuid4())
        try:
            answer = await self._answer(scope, receive, request_id, started)
        except Denied as denied:
            answer = _error(denied, request_id)
        headers = [*answer.headers, ("content-length", str(len(answer.body)))]
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers],
            }
        )
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})
        _LOG.info(
            "%s %s %d %.1f ms %d bytes %s",
            scope["method"],
            scope["path"],
            answer.status,
            (time.monotonic() - started) * 1000,
            len(answer.body),
            request_id,
        )

    async def _answer(
        self, scope: Scope, receive: Receive, request_id: str, started: float
    ) -> Answer:
        headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]]
        claims = None if scope["path"] in PUBLIC else self._claims(dict(headers))
        body = await _body(receive)
        if scope["method"] == "GET" and scope["path"] in {"/docs", "/openapi.json"}:
            return self._documentation(scope)
        event = proxy_event(scope, headers, body, claims, request_id)
        context = Context(request_id, started + self._seconds)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, self._handler, event, context)
        try:
            return _response(await asyncio.wait_for(work, self._seconds))
        except TimeoutError:
            raise Denied(504, "timeout", f"no answer within {self._seconds:g} s") from None
        except Exception:
            logging.getLogger("vireo.gateway").exception("the handler failed (%s)", request_id)
            raise Denied(502, "internal_error", "Internal server error") from None

    def _claims(self, headers: Mapping[str, str]) -> Mapping[str, Any]:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Denied(401, "unauthenticated", "a bearer token is needed")
        try:
            return self._verify(token.strip())
        except Unauthenticated as error:
            raise Denied(401, "unauthenticated", str(error)) from None

    def _documentation(self, scope: Scope) -> Answer:
        document = self._openapi()
        if scope["path"] == "/openapi.json" or b"format=json" in scope["query_string"]:
            return Answer(200, document.encode(), [("content-type", "application/json")])
        return Answer(200, page(document).encode(), [("content-type", "text/html; charset=utf-8")])


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Denied(400, "disconnected", "the client went away")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_BYTES:
            raise Denied(413, "payload_too_large", f"a body has at most {BODY_BYTES} bytes")
        if not message.get("more_body"):
            return b"".join(parts)


def proxy_event(
    scope: Scope,
    headers: list[tuple[str, str]],
    body: bytes,
    claims: Mapping[str, Any] | None,
    request_id: str,
) -> dict[str, Any]:
    """The event of API Gateway's Lambda proxy integration (REST, payload format 1.0)."""
    many: dict[str, list[str]] = {}
    for name, value in headers:
        many.setdefault(name, []).append(value)
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        query.setdefault(name, []).append(value)
    now = datetime.now(tz=UTC)
    return {
        "resource": "/{proxy+}",
        "path": scope["path"],
        "httpMethod": scope["method"],
        "headers": {name: values[-1] for name, values in many.items()},
        "multiValueHeaders": many,
        "queryStringParameters": {n: v[-1] for n, v in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": {"proxy": scope["path"].lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "laptop",
            "authorizer": {"claims": {k: _claim(k, v) for k, v in (claims or {}).items()}},
            "httpMethod": scope["method"],
            "identity": {
                "sourceIp": (scope.get("client") or ("127.0.0.1", 0))[0],
                "userAgent": many.get("user-agent", [None])[-1],
            },
            "path": scope["path"],
            "protocol": f"HTTP/{scope['http_version']}",
            "requestId": request_id,
            "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(now.timestamp() * 1000),
            "resourcePath": "/{proxy+}",
            "stage": "$default",
        },
        # The API has no binary media types: a body is text, with invalid UTF-8 replaced.
        "body": body.decode(errors="replace") if body else None,
        "isBase64Encoded": False,
    }


def _claim(name: str, value: Any) -> str:
    """A claim as API Gateway's Cognito authorizer passes it on: text, with times as dates."""
    if name in {"exp", "iat"}:
        return datetime.fromtimestamp(value, tz=UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _response(result: Mapping[str, Any]) -> Answer:
    body = result.get("body") or ""
    data = base64.b64decode(body) if result.get("isBase64Encoded") else body.encode()
    headers = [(k, str(v)) for k, v in (result.get("headers") or {}).items()]
    for name, values in (result.get("multiValueHeaders") or {}).items():
        headers += [(name, str(value)) for value in values]
    wanted = [(k, v) for k, v in headers if k.lower() != "content-length"]
    return Answer(int(result["statusCode"]), data, wanted)


def _error(denied: Denied, request_id: str) -> Answer:
    """An error in the service's format."""
    body = {
        "error": {"code": denied.code, "message": str(denied), "fields": []},
        "request_id": request_id,
    }
    headers = [("content-type", "application/json")]
    if denied.status == 401:
        headers.append(("www-authenticate", "Bearer"))
    return Answer(denied.status, orjson.dumps(body), headers)


def serve(gateway: Gateway, *, host: str = "127.0.0.1", port: int = 8000) -> uvicorn.Server:
    """A server whose ``run()`` lasts until interrupted, and lets requests in progress finish."""
    config = uvicorn.Config(
        gateway,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,  # ours has the request's id and duration
        lifespan="on",
        timeout_graceful_shutdown=int(SECONDS),
    )
    return uvicorn.Server(config)
