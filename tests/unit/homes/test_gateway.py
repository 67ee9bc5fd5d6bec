"""The laptop's gateway, over HTTP, in front of a handler with Powertools' resolver."""

from __future__ import annotations

import base64
import http.client
import json
import math
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import jwt
import pytest
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.servers import running
from vireo.homes.limits import CALL_BYTES
from vireo.homes.local import LocalHome
from vireo.homes.local import home as local_home
from vireo.homes.local.gateway import Gateway, serve
from vireo.homes.local.tokens import ISSUER, LocalTokens
from vireo.identity import RECOMMEND, Forbidden, Identity, Unauthenticated, require

BLOB = bytes(range(256))
OPERATIONS = [
    ("GET", "/health", True),
    ("GET", "/slow", False),
    ("GET", "/broken", False),
    ("GET", "/blob", False),
    ("GET", "/large", False),
    ("POST", "/echo/{name}", False),
]


def service(home: LocalHome, release: threading.Event) -> APIGatewayRestResolver:
    """A small service as the real one is built."""
    app = APIGatewayRestResolver()
    identity = Identity(home)

    @app.get("/health")
    def health() -> dict[str, str]:
        raise AssertionError("the gateway answers this")

    @app.get("/slow")
    def slow() -> dict[str, str]:
        release.wait(10)
        return {"slow": "yes"}

    @app.get("/broken")
    def broken() -> dict[str, str]:
        raise RuntimeError("a secret detail")

    @app.get("/blob")
    def blob() -> Response[str]:
        many = {"x-many": ["a", "b"]}
        # Powertools takes bytes as well, and encodes them, whatever its annotation says.
        return Response(200, "application/octet-stream", cast(str, BLOB), headers=many)

    @app.get("/large")
    def large() -> Response[str]:
        size = int(app.current_event.query_string_parameters["bytes"])
        return Response(200, "text/plain", "x" * size)

    @app.post("/echo/<name>")
    def echo(name: str) -> dict[str, Any]:
        caller = identity.caller(app.current_event.request_context.authorizer.claims)
        require(caller, RECOMMEND, app.current_event.query_string_parameters.get("user"))
        return {
            "name": name,
            "tenant": caller.tenant,
            "body": app.current_event.json_body,
            "tags": app.current_event.multi_value_query_string_parameters["tag"],
            "request_id": app.current_event.request_context.request_id,
            "left": app.lambda_context.get_remaining_time_in_millis(),
        }

    def unauthenticated(error: Unauthenticated) -> Response[str]:
        return Response(401, "application/json", "{}")

    def forbidden(error: Forbidden) -> Response[str]:
        return Response(403, "application/json", "{}")

    app.exception_handler(Unauthenticated)(unauthenticated)
    app.exception_handler(Forbidden)(forbidden)
    return app


@dataclass
class Api:
    """A running gateway."""

    port: int
    home: LocalHome
    tokens: LocalTokens
    release: threading.Event

    def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            sent = dict(headers or {})
            if token is not None:
                sent["Authorization"] = f"Bearer {token}"
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def error(self, method: str, path: str, **kwargs: Any) -> tuple[int, str]:
        """Status and code of an error, whose shape is checked."""
        status, _, body = self.call(method, path, **kwargs)
        answer = json.loads(body)
        assert set(answer) == {"error", "request_id"}
        assert set(answer["error"]) == {"code", "message", "fields"}
        return status, answer["error"]["code"]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("state")
    home, release = local_home(folder), threading.Event()
    tokens = LocalTokens(folder)
    app = service(home, release)
    gateway = Gateway(
        app.resolve, tokens.verify, OPERATIONS, openapi=lambda: '{"x": "</script>"}', seconds=3.0
    )
    with running(gateway) as port:
        yield Api(port, home, tokens, release)
        release.set()


def issue(api: Api, **changes: Any) -> str:
    options: dict[str, Any] = {"tenant": "acme", "client": "machine", **changes}
    return api.tokens.issue(api.home, **options)


def test_health_needs_no_token_and_is_answered_by_the_gateway_itself(api: Api) -> None:
    status, headers, body = api.call("GET", "/health")
    assert (status, json.loads(body)) == (200, {"status": "ok"})
    assert headers["content-type"] == "application/json"
    # As API Gateway does without a template for what it is sent.
    assert api.error("GET", "/health", headers={"content-type": "text/plain"}) == (
        415,
        "unsupported_media_type",
    )


def test_a_request_goes_through_whole(api: Api) -> None:
    status, headers, body = api.call(
        "POST",
        "/echo/a%20b?tag=1&tag=%C3%A9&user=anna&empty=",
        token=issue(api),
        body='{"ü": [1]}'.encode(),
        headers={"content-type": "application/json"},
    )
    answer = json.loads(body)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert 0 < answer.pop("left") <= 3000
    assert len(answer.pop("request_id")) == 36
    assert answer == {
        "name": "a%20b",
        "tenant": "acme",
        "body": {"ü": [1]},
        "tags": ["1", "é"],
    }


def test_an_end_user_may_name_themselves_only(api: Api) -> None:
    token = issue(api, user="anna")
    assert api.call("POST", "/echo/x?tag=1&user=anna", token=token, body=b"{}")[0] == 200
    assert api.call("POST", "/echo/x?tag=1&user=bert", token=token, body=b"{}")[0] == 403


def test_without_the_scope(api: Api) -> None:
    token = issue(api, scopes=["vireo/events"])
    assert api.call("POST", "/echo/x?tag=1&user=anna", token=token, body=b"{}")[0] == 403


def test_the_token_says_the_tenant(api: Api) -> None:
    token = issue(api, tenant="other", client="theirs")
    body = b'{"tenant": "acme"}'
    _, _, answer = api.call(
        "POST",
        "/echo/x?tag=1&user=u&tenant=acme",
        token=token,
        body=body,
        headers={"tenant": "acme"},
    )
    assert json.loads(answer)["tenant"] == "other"


def tampered(token: str, **changes: Any) -> str:
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    forged = base64.urlsafe_b64encode(json.dumps(claims | changes).encode()).rstrip(b"=")
    return f"{head}.{forged.decode()}.{signature}"


def foreign(api: Api, algorithm: str = "RS256", **changes: Any) -> str:
    """A token that is right in everything but its signature (or what is changed)."""
    claims = dict(api.tokens.verify(issue(api))) | changes
    key: Any = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if algorithm == "HS256":
        key = "k" * 32
    elif algorithm == "none":
        key = None
    return jwt.encode(claims, key, algorithm=algorithm)


def test_tokens_that_are_none(api: Api) -> None:
    good = issue(api)
    bad = {
        "expired": issue(api, seconds=-1),
        "another user": tampered(good, username="anna", sub="2f1c"),
        "another client": tampered(good, client_id="theirs", sub="theirs"),
        "longer": tampered(good, exp=9_999_999_999),
        "cut": good[:-8],
        "another key": foreign(api),
        "a shared secret": foreign(api, "HS256"),
        "no signature": foreign(api, "none"),
        "nonsense": "nonsense",
        "empty": "",
        "blanks": "   ",
    }
    for token in bad.values():
        for path in ("/echo/x?tag=1", "/blob", "/blob/"):
            assert api.error("GET", path, token=token) == (401, "unauthenticated")
        assert api.error("POST", "/health", token=token) == (401, "unauthenticated")
        for path in ("/nowhere", "/docs/", "/health/x", "/echo", "/echo/", "//blob", "/"):
            assert api.error("GET", path, token=token) == (404, "not_found")
    assert api.error("GET", "/blob") == (401, "unauthenticated")
    basic = {"Authorization": "Basic " + base64.b64encode(b"a:b").decode()}
    assert api.error("GET", "/blob", headers=basic) == (401, "unauthenticated")
    assert api.call("GET", "/blob")[1]["www-authenticate"] == "Bearer"


def test_right_signature_wrong_claims(api: Api) -> None:
    claims = dict(api.tokens.verify(issue(api)))
    changes: list[dict[str, Any]] = [
        {"iss": "https://elsewhere.invalid"},
        {"token_use": "id"},
        {"exp": None},
    ]
    for change in changes:
        wrong = {k: v for k, v in (claims | change).items() if v is not None}
        token = jwt.encode(wrong, api.tokens._private, algorithm="RS256")
        assert api.error("GET", "/blob", token=token) == (401, "unauthenticated")
    assert claims["iss"] == ISSUER


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf", "auth_time"])
@pytest.mark.parametrize(
    "date", [1e18, 10**400, -1e18, -1, math.nan, math.inf, "9999999999", "soon", True, [1], {}]
)
def test_a_signed_token_with_an_impossible_date(api: Api, claim: str, date: Any) -> None:
    claims = dict(api.tokens.verify(issue(api))) | {claim: date}
    # Signed as bytes, as PyJWT converts dates that it encodes.
    token = jwt.api_jws.encode(json.dumps(claims).encode(), api.tokens._private, algorithm="RS256")
    assert api.error("GET", "/blob", token=token) == (401, "unauthenticated")


def test_binary_answers_and_repeated_headers(api: Api) -> None:
    status, headers, body = api.call("GET", "/blob", token=issue(api))
    assert (status, body) == (200, BLOB)
    assert headers.get_all("x-many") == ["a", "b"]
    assert headers["content-length"] == "256"


def test_a_body_that_is_too_large(api: Api) -> None:
    token = issue(api)
    # Room for the rest of the event. Escaped in the event, a body can be longer than it was sent.
    large = b"1" * (CALL_BYTES - 8192)
    assert api.call("POST", "/echo/x?tag=1&user=u", token=token, body=large[:4000])[0] == 200
    assert api.call("GET", "/blob", token=token, body=large)[0] == 200
    for body in (large + b"1" * 8192, b"1" * (2 * CALL_BYTES), b'"' * (CALL_BYTES // 2 + 1)):
        assert api.error("POST", "/echo/x?tag=1", token=token, body=body) == (
            413,
            "payload_too_large",
        )


def test_an_answer_that_is_too_large(api: Api) -> None:
    token = issue(api)
    assert api.call("GET", f"/large?bytes={CALL_BYTES - 8192}", token=token)[0] == 200
    assert api.error("GET", f"/large?bytes={CALL_BYTES}", token=token) == (502, "internal_error")


def test_a_line_of_the_log_cannot_be_forged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "vireo.access")
    sent = [
        "/nowhere%0aGET%20/blob%20200%201.0%20ms%2064%20bytes%20forged",
        "/nowhere%0d%0a%1b%5b2J%22",
        "/nowhere%E2%80%A8%C2%85",
        "/nowhere%2522'\"[\\x]",
    ]
    for path in sent:
        assert api.error("GET", path) == (404, "not_found")
    end = time.monotonic() + 5
    lines: list[str] = []
    while len(lines) < len(sent) and time.monotonic() < end:  # a line follows the answer
        time.sleep(0.01)
        told = [r.getMessage() for r in caplog.records if r.name == "vireo.access"]
        lines = [line for line in told if " /nowhere" in line]
    assert len(lines) == len(sent)
    for line, path in zip(lines, sent, strict=True):
        assert len(line.splitlines()) == 1
        assert re.fullmatch(r"GET [!#-&(-\[\]-~]+ 404 \d+\.\d ms \d+ bytes [0-9a-f-]{36}", line)
        assert unquote(line.split()[1]) == unquote(path)


def test_a_body_that_is_no_text_reaches_the_service(api: Api) -> None:
    status, _, _ = api.call("POST", "/echo/x?tag=1&user=u", token=issue(api), body=b'"\xff"')
    assert status == 200


def test_a_handler_that_takes_too_long(api: Api) -> None:
    started = time.monotonic()
    assert api.error("GET", "/slow", token=issue(api)) == (504, "timeout")
    assert time.monotonic() - started < 8


def test_a_handler_that_fails_tells_nothing(api: Api) -> None:
    status, _, body = api.call("GET", "/broken", token=issue(api))
    assert status == 502
    assert b"secret" not in body
    assert json.loads(body)["error"]["code"] == "internal_error"


def test_documentation(api: Api) -> None:
    status, headers, body = api.call("GET", "/docs")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    page = body.decode()
    assert "SwaggerUIBundle" in page
    assert '{"x": "<\\/script>"}' in page
    assert 'src="http' not in page
    for path in ("/openapi.json", "/docs?format=json"):
        assert api.call("GET", path)[2] == b'{"x": "</script>"}'


def test_requests_run_at_once_and_shutting_down_lets_them_finish(tmp_path: Path) -> None:
    release = threading.Event()
    home = local_home(tmp_path)
    tokens = LocalTokens(tmp_path)
    server = serve(Gateway(service(home, release).resolve, tokens.verify, OPERATIONS), port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    api = Api(server.servers[0].sockets[0].getsockname()[1], home, tokens, release)
    token = issue(api)
    statuses: list[int] = []
    slow = [
        threading.Thread(target=lambda: statuses.append(api.call("GET", "/slow", token=token)[0]))
        for _ in range(3)
    ]
    for request in slow:
        request.start()
    time.sleep(0.2)
    assert api.call("GET", "/health")[0] == 200
    server.should_exit = True
    time.sleep(0.3)
    release.set()
    for request in slow:
        request.join(10)
    thread.join(10)
    assert statuses == [200, 200, 200]
    assert not thread.is_alive()
