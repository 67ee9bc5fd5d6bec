"""API Gateway on a laptop: HTTP in, the very event that Lambda gets, the handler's answer out.

Like API Gateway it knows the paths that there are, answers itself what needs no token, verifies the
token before anything of ours runs, and waits at most 29 s; what Lambda would not take, over 6 MB in
either direction, is refused. Who asks too often, or while too many requests are waiting, is told to
come again before anything of the body is read, and who sends slowly is not waited for. Unlike API
Gateway it serves the documentation page.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import orjson
import uvicorn

from vireo.homes.limits import CALL_BYTES
from vireo.homes.local.connections import Impatient
from vireo.homes.local.documentation import page
from vireo.homes.local.proxy import Answer, Resources, Scope, answer_of, event_of
from vireo.homes.local.rates import Rates
from vireo.identity import Unauthenticated

_LOG = logging.getLogger("vireo.access")
SECONDS = 29.0
#: Seconds in which a request's body has to come.
PATIENCE = 10.0
#: Its own answer to whoever asks whether it is there; the service is not called.
HEALTH = b'{"status":"ok"}'
#: What only a laptop serves.
DOCUMENTATION = frozenset({"/docs", "/openapi.json"})

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Handler = Callable[[dict[str, Any], Any], Mapping[str, Any]]
Verify = Callable[[str], Mapping[str, Any]]


class Denied(Exception):
    """A response of the gateway itself, without calling the service."""

    def __init__(self, status: int, code: str, message: str, *, wait: float = 1.0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.wait = wait  #: seconds after which to come again, if the status says so


class Unread(Denied):
    """A refusal of a body of which more is to come."""


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
        handler: what Lambda runs.
        verify: a token's claims; raises `Unauthenticated`.
        operations: method, path and whether it asks for no token, of all that the handler serves.
        openapi: the service's OpenAPI document as JSON.
        seconds: how long the handler may take.
        patience: how long a body may take to come, in seconds.
        threads: how many requests run at once.
        waiting: how many more may wait for that, or for the rest of their body.
        rates: of each client and route; None: unlimited.
    """

    def __init__(
        self,
        handler: Handler,
        verify: Verify,
        operations: Iterable[tuple[str, str, bool]],
        *,
        openapi: Callable[[], str] = lambda: "{}",
        seconds: float = SECONDS,
        patience: float = PATIENCE,
        threads: int = 32,
        waiting: int = 128,
        rates: Rates | None = None,
    ) -> None:
        self._handler = handler
        self._verify = verify
        self._resources = Resources(operations)
        self._openapi = openapi
        self._seconds = seconds
        self._patience = patience
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._room = BoundedSemaphore(threads + waiting)
        self._rates = rates

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
            answer = await self._answer(scope, receive, request_id)
        except Denied as denied:
            if isinstance(denied, Unread):
                await _throw_away(receive, started + self._patience)
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
            _printed(scope["method"]),
            _printed(_path(scope)),
            answer.status,
            (time.monotonic() - started) * 1000,
            len(answer.body),
            request_id,
        )

    async def _answer(self, scope: Scope, receive: Receive, request_id: str) -> Answer:
        path = _path(scope)
        if path in DOCUMENTATION and scope["method"] == "GET":
            return self._documentation(scope)
        found = self._resources.find(path)
        if found is None:
            raise Denied(404, "not_found", "there is nothing at this path")
        if scope["method"] in found[0].public:
            return _healthy(scope)
        claims = self._claims(scope)
        route = scope["method"], found[0].path
        wait = self._rates.take(str(claims.get("client_id", "")), route) if self._rates else 0.0
        if wait:
            raise Denied(429, "too_many_requests", "this client asks too often", wait=wait)

        async def event() -> dict[str, Any]:
            body = await _body(receive, time.monotonic() + self._patience)
            return event_of(scope, path, found, body=body, claims=claims, request_id=request_id)

        work = await self._begin(event, request_id)
        try:
            result = await asyncio.wait_for(asyncio.wrap_future(work), self._seconds)
            # To API Gateway, an answer that Lambda does not take is a function that failed.
            if len(orjson.dumps(result)) > CALL_BYTES:
                raise ValueError(f"an answer has at most {CALL_BYTES} bytes")
            return answer_of(result)
        except Denied:
            raise
        except TimeoutError:
            raise Denied(504, "timeout", f"no answer within {self._seconds:g} s") from None
        except Exception:
            logging.getLogger("vireo.gateway").exception("the handler failed (%s)", request_id)
            raise Denied(502, "internal_error", "Internal server error") from None

    async def _begin(
        self, coming: Callable[[], Awaitable[dict[str, Any]]], request_id: str
    ) -> Future[Mapping[str, Any]]:
        """Have the handler called with an event that is yet to come, unless too many wait.

        What has begun keeps its room until it ends.
        """
        if not self._room.acquire(blocking=False):
            raise Denied(429, "too_many_requests", "too many requests are waiting")
        try:
            event = await coming()
            if len(orjson.dumps(event)) > CALL_BYTES:
                raise _too_large()
            context = Context(request_id, time.monotonic() + self._seconds)
            work = self._threads.submit(self._handler, event, context)
        except BaseException:
            self._room.release()
            raise
        work.add_done_callback(lambda _: self._room.release())
        return work

    def _claims(self, scope: Scope) -> Mapping[str, Any]:
        header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        kind, _, token = header.partition(" ")
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


def _healthy(scope: Scope) -> Answer:
    """The answer of what needs no token, by the gateway itself, which takes JSON only."""
    kind = dict(scope["headers"]).get(b"content-type", b"application/json").decode("latin-1")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Denied(415, "unsupported_media_type", "Unsupported Media Type")
    return Answer(200, HEALTH, [("content-type", "application/json")])


def _path(scope: Scope) -> str:
    """The path as it was sent."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return raw.decode("latin-1")


def _printed(sent: str) -> str:
    """Text for a line of the log that can neither end the line nor look like its other fields."""
    return quote(sent, safe="/:@!$&*+,;=-._~%?")


async def _body(receive: Receive, deadline: float) -> bytes:
    """All of the body, of which no more is kept than is taken."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        part, more = await _part(receive, deadline)
        parts.append(part)
        size += len(part)
        if size > CALL_BYTES:
            raise _too_large(Unread if more else Denied)
    return b"".join(parts)


async def _throw_away(receive: Receive, deadline: float) -> None:
    """Take what is still to come of a body, because its sender reads no answer before."""
    with suppress(Denied):
        while (await _part(receive, deadline))[1]:
            pass


async def _part(receive: Receive, deadline: float) -> tuple[bytes, bool]:
    """The next part of a body, and whether there is more."""
    try:
        message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise Denied(408, "request_timeout", "the body did not come in time") from None
    if message["type"] == "http.disconnect":
        raise Denied(400, "disconnected", "the client went away")
    return message.get("body", b""), bool(message.get("more_body"))


def _too_large(kind: type[Denied] = Denied) -> Denied:
    return kind(413, "payload_too_large", f"a request has at most {CALL_BYTES} bytes")


def _error(denied: Denied, request_id: str) -> Answer:
    """An error in the service's format."""
    body = {
        "error": {"code": denied.code, "message": str(denied), "fields": []},
        "request_id": request_id,
    }
    headers = [("content-type", "application/json")]
    if denied.status == 401:
        headers.append(("www-authenticate", "Bearer"))
    if denied.status == 429:
        headers.append(("retry-after", str(math.ceil(denied.wait))))
    return Answer(denied.status, orjson.dumps(body), headers)


def serve(gateway: Gateway, *, host: str = "127.0.0.1", port: int = 8000) -> uvicorn.Server:
    """A server whose ``run()`` lasts until interrupted, and lets requests in progress finish."""
    config = uvicorn.Config(
        gateway,
        host=host,
        port=port,
        log_level="warning",
        http=Impatient,
        access_log=False,  # ours has the request's id and duration
        lifespan="on",
        timeout_graceful_shutdown=int(SECONDS),
    )
    return uvicorn.Server(config)
