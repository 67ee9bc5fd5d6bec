"""Every route against its own documentation: what is promised, what is refused, and to whom.

Routes come from the OpenAPI document of the running server, so a new one is covered by itself.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
import schemathesis
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import (
    GenerationConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.specs.openapi import checks as openapi

from services import build
from tests.e2e.conftest import TENANT, TRAINED_AT, Answer, Client, Laptop, serving
from vireo.homes import local
from vireo.homes.local.tokens import ISSUER
from vireo.identity import SCOPES

#: How many requests are made up for every operation.
EXAMPLES = 25
CHECKS = [
    not_a_server_error,
    openapi.status_code_conformance,
    openapi.content_type_conformance,
    openapi.response_schema_conformance,
    openapi.response_headers_conformance,
    openapi.unsupported_method,
]
#: What JSON Schema cannot say and is refused nevertheless.
BEYOND_SCHEMA = re.compile(
    "must be after available_from|must lie between 1970 and 2100|a video_id comes twice"
    "|lies more than 300 seconds ahead|more than 30 days old"
)


@pytest.fixture(scope="module")
def shared(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One server for all made-up requests: what they change may confuse what comes after them."""
    folder = tmp_path_factory.mktemp("openapi") / "home"
    shutil.copytree(trained, folder)
    laptop = Laptop(folder)
    with serving(laptop) as client:
        client.recommend("u00169")
        yield client
    laptop.home.close()


def documented() -> dict[str, Any]:
    """The OpenAPI document, which tests are made from before any server runs."""
    with tempfile.TemporaryDirectory() as folder:
        home = local.home(folder)
        document: dict[str, Any] = json.loads(build(home).get_openapi_json_schema())
        home.close()
        return document


GENERATION = GenerationConfig(deterministic=True, max_examples=EXAMPLES)
PROJECT = ProjectConfig(generation=GENERATION)
schema = schemathesis.openapi.from_dict(
    documented(), config=SchemathesisConfig(seed=1, projects=ProjectsConfig(default=PROJECT))
)


def test_the_server_hands_out_that_document(shared: Client) -> None:
    assert shared.call("GET", "/openapi.json").body == documented()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_made_up_requests(case: Any, shared: Client) -> None:
    response = case.call(
        base_url=shared.url, headers={"authorization": f"Bearer {shared.authorization}"}
    )
    case.validate_response(response, checks=CHECKS)
    if not BEYOND_SCHEMA.search(response.text):
        case.validate_response(response, checks=[openapi.positive_data_acceptance])
    if response.status_code >= 400:
        body = response.json()
        assert body.keys() == {"error", "request_id"}
        assert body["error"].keys() == {"code", "message", "fields"}
        assert body["request_id"]


@dataclass(frozen=True)
class Operation:
    """A route of the document with a request that is good but for who sends it."""

    method: str
    path: str
    body: Any
    public: bool

    def send(self, client: Client, token: str) -> Answer:
        return client.call(self.method, self.path, self.body, token=token)


BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/recommendations"): {"user_id": "anna"},
    ("POST", "/v1/videos/batch"): {"videos": [{"video_id": "mine", "title": "Mine"}]},
    ("PUT", "/v1/videos/<video_id>"): {"title": "Mine"},
    ("PUT", "/v1/users/<user_id>"): {"age": 30},
    ("POST", "/v1/events"): {
        "event_id": "e1",
        "user_id": "anna",
        "video_id": "mine",
        "type": "watch",
        "timestamp": TRAINED_AT,
    },
}
VALUES = {"video_id": "mine", "user_id": "anna"}


def operations(client: Client) -> list[Operation]:
    """All of the document, those that delete last."""
    document = client.call("GET", "/openapi.json").body
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            template = re.sub(r"\{(\w+)\}", r"<\1>", path)
            needs = "requestBody" in operation
            body = BODIES.get((method.upper(), template))
            assert needs == (body is not None), f"give {method} {template} a body here"
            filled = re.sub(r"<(\w+)>", lambda match: VALUES[match[1]], template)
            found.append(Operation(method.upper(), filled, body, public=path == "/health"))
    assert len(found) >= 12
    return sorted(found, key=lambda o: o.method == "DELETE")


def protected(client: Client) -> list[Operation]:
    return [operation for operation in operations(client) if not operation.public]


def error(answer: Answer, status: int) -> str:
    """The code of an error of that status and of the one shape."""
    assert answer.status == status, answer.body
    assert answer.body.keys() == {"error", "request_id"}
    assert answer.body["error"].keys() == {"code", "message", "fields"}
    return str(answer.body["error"]["code"])


def test_only_health_is_open(client: Client) -> None:
    assert [o.path for o in operations(client) if o.public] == ["/health"]
    assert client.call("GET", "/health", token="none").status == 200


def test_with_all_scopes_every_route_answers(client: Client) -> None:
    """What follows proves nothing unless these requests are good."""
    for video in ("mine", "other"):
        assert client.call("PUT", f"/v1/videos/{video}", {"title": "Mine"}).status == 200
    assert client.call("PUT", "/v1/users/anna", {"age": 30}).status == 200
    for operation in operations(client):
        assert operation.send(client, client.authorization).status == 200, operation


def test_tokens_that_are_none_get_401(client: Client) -> None:
    laptop = client.laptop
    good = laptop.token()
    head, payload, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def resigned(**changes: Any) -> str:
        return jwt.encode({**claims, **changes}, stranger, algorithm="RS256")

    def ours(**changes: Any) -> str:
        return jwt.encode({**claims, **changes}, laptop.tokens._private, algorithm="RS256")

    other = jwt.encode({**claims, "client_id": "client-acme"}, "s" * 32, algorithm="HS256")
    bad = {
        "expired": laptop.token(seconds=-1),
        "another payload": ".".join([head, other.split(".")[1], signature]),
        "a changed signature": ".".join([head, payload, signature[:-8] + "AAAAAAAA"]),
        "no signature": ".".join([head, payload, ""]),
        "algorithm none": jwt.encode(claims, "", algorithm="none"),
        "another key": resigned(),
        "another algorithm": other,
        "an id token": ours(token_use="id"),
        "another issuer": ours(iss=f"{ISSUER}/other"),
        "no token": "x",
    }
    for operation in protected(client):
        for kind, token in bad.items():
            code = error(operation.send(client, token), 401)
            assert code == "unauthenticated", (operation, kind)


def test_a_token_that_expires_while_the_api_runs(client: Client) -> None:
    token = client.laptop.token(seconds=2 * 365 * 86_400)
    client.laptop.clock.advance(2 * 365 * 86_400 + 1)
    for operation in protected(client):
        assert error(operation.send(client, token), 401) == "unauthenticated"


def test_without_the_scope_every_route_is_forbidden(client: Client) -> None:
    """Each route takes exactly one of the scopes, and none takes a token without any."""
    nothing = client.laptop.token(scopes=())
    single = {scope: client.laptop.token(scopes=(scope,)) for scope in SCOPES}
    for operation in protected(client):
        assert error(operation.send(client, nothing), 403) == "forbidden"
        statuses = {s: operation.send(client, token).status for s, token in single.items()}
        allowed = [scope for scope, status in statuses.items() if status != 403]
        assert len(allowed) == 1, (operation, statuses)


def test_a_client_of_no_tenant_is_forbidden(client: Client) -> None:
    claims = jwt.decode(client.laptop.token(), options={"verify_signature": False})
    claims |= {"client_id": "unregistered", "sub": "unregistered", "custom:tenant": TENANT}
    token = jwt.encode(claims, client.laptop.tokens._private, algorithm="RS256")
    for operation in protected(client):
        assert error(operation.send(client, token), 403) == "forbidden"


def test_another_tenant_sees_and_changes_nothing(client: Client) -> None:
    assert client.call("PUT", "/v1/videos/mine", {"title": "A secret title"}).status == 200
    assert client.call("PUT", "/v1/users/anna", {"age": 30}).status == 200
    client.later(30)
    stranger = client.laptop.token(tenant="acme")
    for operation in protected(client):
        answer = operation.send(client, stranger)
        said = json.dumps(answer.body)
        assert "secret" not in said
        assert '"first"' not in said, "no model of another tenant"
        if operation.method == "GET":
            assert answer.status in {404, 503}, operation
    # It has written and deleted videos and users of the same names: its own.
    assert client.call("GET", "/v1/videos/mine").body["title"] == "A secret title"
    assert client.call("GET", "/v1/users/anna").body["profile"]["age"] == 30
    client.later(30)
    assert client.call("GET", "/v1/videos/mine/similar").status == 200


def test_an_end_user_may_ask_about_themselves_only(client: Client) -> None:
    boris, anna = (client.laptop.token(user=user) for user in ("boris", "anna"))
    about_anna = [
        o for o in protected(client) if "anna" in o.path or "anna" in json.dumps(o.body or "")
    ]
    assert len(about_anna) == 6
    for operation in about_anna:
        assert error(operation.send(client, boris), 403) == "forbidden"
        assert operation.send(client, anna).status in {200, 404}, operation
