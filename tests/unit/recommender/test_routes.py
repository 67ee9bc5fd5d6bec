"""The routes through the very event that Lambda gets: answers, errors, scopes and threads."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from recommend.app import build
from tests.calls import READ, ROUTES, WRITE, call, claims, event_of
from tests.worlds import NOW, bundle, catalogue
from vireo.api import Api
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome, home
from vireo.identity import register_client
from vireo.recommender.models import Listing, Recommendations


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> LocalHome:
    made = home(tmp_path_factory.mktemp("home"), clock=MovableClock(NOW))
    register_client(made, "machine", "default")
    register_client(made, "another", "elsewhere")
    ports = made.open("default")
    bundles.publish(bundle(catalogue(120)), ports.blobs)
    pointer.switch(ports.records, "b1", expect=None)
    return made


@pytest.fixture(scope="module")
def api(opened: LocalHome) -> Api:
    return build(opened)


def test_recommendations(api: Api) -> None:
    status, body = call(api, "POST", "/v1/recommendations", {"user_id": "anna", "limit": 5})
    assert status == 200
    assert len(Recommendations.model_validate_json(json.dumps(body)).items) == 5
    assert body["request_id"] == "r-1"


def test_lists(api: Api) -> None:
    for path in ("/v1/trending", "/v1/videos/v5/similar"):
        status, body = call(api, "GET", path, query={"limit": "3", "country": "DE", "age": "40"})
        assert status == 200
        assert len(Listing.model_validate_json(json.dumps(body)).items) == 3
    assert call(api, "GET", "/v1/videos/nothing/similar")[0] == 404


def test_the_life_of_a_video(api: Api) -> None:
    path = "/v1/videos/a%22b"
    assert call(api, "GET", path)[0] == 404
    status, body = call(api, "PUT", path, {"title": "Ä title", "category": "music"})
    assert (status, body["video_id"], body["title"]) == (200, 'a"b', "Ä title")
    assert call(api, "GET", path) == (200, body)
    assert call(api, "DELETE", path) == (200, {"deleted": True})
    status, body = call(api, "DELETE", path)
    assert (status, body["error"]["code"]) == (404, "unknown_video")
    batch = {"videos": [{"video_id": f"n{j}", "title": "N"} for j in range(70)]}
    assert call(api, "POST", "/v1/videos/batch", batch) == (200, {"stored": 70})
    assert call(api, "GET", "/v1/videos/n69")[0] == 200


def test_the_life_of_a_user(api: Api) -> None:
    path = "/v1/users/boris"
    assert call(api, "GET", path)[0] == 404
    status, body = call(api, "PUT", path, {"age": 30, "country": "DE"})
    assert (status, body["profile"]["age"], body["watched"]) == (200, 30, 0)
    assert call(api, "GET", path) == (200, body)
    gone = {"deleted": True, "record": True, "events": 0, "dead_letters": 0, "campaigns": 0}
    assert call(api, "DELETE", path) == (200, gone)
    assert call(api, "DELETE", path) == (200, gone | {"record": False})
    assert call(api, "GET", path)[0] == 404


@pytest.mark.parametrize(
    ("sent", "user_id"),
    [
        ("anna%40example.com", "anna@example.com"),
        ("anna@example.com", "anna@example.com"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("%61", "a"),
        ("50%25", "50%"),
        ("a%2540b", "a%40b"),
    ],
)
def test_an_id_means_in_a_path_what_it_means_in_a_body(api: Api, sent: str, user_id: str) -> None:
    path = f"/v1/users/{sent}"
    assert call(api, "PUT", path, {"age": 30})[1]["user_id"] == user_id
    status, body = call(api, "POST", "/v1/recommendations", {"user_id": user_id})
    assert (status, body["user_id"]) == (200, user_id)
    assert call(api, "GET", path)[1]["profile"]["age"] == 30
    themselves = claims(sub="1234", username=user_id)
    assert call(api, "DELETE", path, token=themselves)[1]["record"] is True
    assert call(api, "GET", path)[0] == 404


@pytest.mark.parametrize("sent", ["%zz", "%", "a%4", "%ff", "a%2Fb", "%20", "a%0Ab", "%CE%BB", "λ"])
def test_what_is_no_id_in_a_body_is_none_in_a_path(api: Api, sent: str) -> None:
    for method, body in (("PUT", {"age": 3}), ("GET", None), ("DELETE", None)):
        status, answer = call(api, method, f"/v1/users/{sent}", body)
        assert (status, answer["error"]["fields"][0]["field"]) == (422, "path.user_id")
    assert call(api, "GET", f"/v1/videos/{sent}/similar")[0] == 422
    assert call(api, "GET", f"/v1/users/{sent}", token={})[0] == 401, "who may not call learns none"


@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        ("{", 400, []),
        ("", 422, ["body"]),
        (None, 422, ["body"]),
        ([], 422, ["body"]),
        ({}, 422, ["body.user_id"]),
        ({"user_id": "a b"}, 422, ["body.user_id"]),
        ({"user_id": "a", "limit": 101}, 422, ["body.limit"]),
        (
            {"user_id": "a", "limit": 0, "context": {"country": "de"}},
            422,
            ["body.limit", "body.context.country"],
        ),
        ({"user_id": "a", "surprise": 1}, 422, ["body.surprise"]),
        (
            {"user_id": "a", "session": [{"video_id": "v", "seconds": -1}]},
            422,
            ["body.session.0.seconds"],
        ),
    ],
)
def test_bad_bodies(api: Api, body: Any, status: int, fields: list[str]) -> None:
    got, answer = call(api, "POST", "/v1/recommendations", body)
    assert got == status
    named = [f["field"] for f in answer["error"]["fields"]]
    assert named == fields
    assert all(f["expected"] for f in answer["error"]["fields"])
    assert answer["request_id"] == "r-1"


@pytest.mark.parametrize(
    ("path", "more", "field"),
    [
        ("/v1/recommendations", {"user_id": 5}, "user_id"),
        ("/v1/recommendations", {"limit": "5"}, "limit"),
        ("/v1/recommendations", {"limit": 5.5}, "limit"),
        ("/v1/recommendations", {"limit": True}, "limit"),
        ("/v1/recommendations", {"debug": 0}, "debug"),
        ("/v1/recommendations", {"debug": "no"}, "debug"),
        ("/v1/recommendations", {"exclude": "v1"}, "exclude"),
        (
            "/v1/recommendations",
            {"session": [{"video_id": "v1", "seconds": "3"}]},
            "session.0.seconds",
        ),
        ("/v1/recommendations", {"session": [{"video_id": "v1", "at": 17}]}, "session.0.at"),
        ("/v1/videos/v1", {"duration_seconds": "60"}, "duration_seconds"),
        ("/v1/videos/v1", {"duration_seconds": True}, "duration_seconds"),
        ("/v1/videos/v1", {"age_rating": "16"}, "age_rating"),
        ("/v1/videos/batch", {"videos": [{"video_id": "v1", "title": 1}]}, "videos.0.title"),
        ("/v1/users/anna", {"age": "30"}, "age"),
        ("/v1/users/anna", {"joined_at": 1_700_000_000}, "joined_at"),
    ],
)
def test_no_type_is_taken_for_another(
    api: Api, path: str, more: dict[str, Any], field: str
) -> None:
    method, least = next((m, b) for m, p, b, _ in ROUTES if p == path and b is not None)
    status, body = call(api, method, path, least | more)
    assert status == 422
    assert body["error"]["fields"][0]["field"] == f"body.{field}"


def test_what_json_has_no_type_for_is_taken(api: Api) -> None:
    """Whole numbers where there may be fractions; moments, names of a list, lists of any length."""
    watch = {"video_id": "v1", "at": "2023-11-14T22:00:00+01:00", "seconds": 3, "fraction": 1}
    body = {"user_id": "anna", "limit": 3.0, "debug": False, "session": [watch], "exclude": ["v2"]}
    assert call(api, "POST", "/v1/recommendations", body)[0] == 200
    video = {"title": "T", "duration_seconds": 60, "status": "private", "tags": ["a", "b"]}
    moments = {"published_at": "2023-11-01T00:00:00Z", "available_until": "2030-01-01T00:00:00Z"}
    status, stored = call(api, "PUT", "/v1/videos/typed", video | moments)
    assert (status, stored["status"], stored["duration_seconds"]) == (200, "private", 60)
    assert stored["published_at"] == "2023-11-01T00:00:00Z"


def test_the_body_is_one_object(api: Api) -> None:
    status, body = call(api, "POST", "/v1/recommendations", [{"user_id": "anna"}])
    assert (status, body["error"]["fields"][0]["field"]) == (422, "body")
    assert call(api, "POST", "/v1/recommendations", "not base64", encoded=True)[0] == 400
    encoded = base64.b64encode(b'{"user_id": "anna"}').decode()
    assert call(api, "POST", "/v1/recommendations", encoded, encoded=True)[0] == 200


def test_bad_paths_queries_and_types(api: Api) -> None:
    assert call(api, "GET", "/v1/trending", query={"limit": "many"})[0] == 422
    assert call(api, "GET", "/v1/videos/a%20b")[0] == 422
    assert call(api, "GET", "/v1/nothing")[0] == 404
    status, body = call(api, "PATCH", "/v1/videos/v1")
    assert (status, body["error"]["code"]) == (405, "method_not_allowed")
    for other in (
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "application/json+x",
    ):
        text = call(api, "POST", "/v1/recommendations", "user_id=anna", content_type=other)
        assert text[0] == 415
    for same in ("", "application/json; charset=utf-8", "Application/JSON"):
        body = {"user_id": "anna"}
        assert call(api, "POST", "/v1/recommendations", body, content_type=same)[0] == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limt", "5"),
        ("limit", "5.0"),
        ("limit", " 5"),
        ("limit", "+5"),
        ("limit", "05"),
        ("limit", ""),
        ("limit", ["5", "6"]),
        ("limit", ["5", "5"]),
        ("age", ""),
        ("age", "null"),
        ("age", "3e1"),
        ("country", ""),
        ("country", " DE"),
        ("language", ["en", "en"]),
        ("category", ""),
    ],
)
def test_queries_are_as_strict_as_bodies(api: Api, name: str, value: str | list[str]) -> None:
    status, body = call(api, "GET", "/v1/trending", query={name: value})
    assert (status, [f["field"] for f in body["error"]["fields"]]) == (422, [f"query.{name}"])


def test_a_route_without_a_query_takes_none(api: Api) -> None:
    for method, path, body, _ in ROUTES[:1] + ROUTES[-2:]:
        status, answer = call(api, method, path, body, query={"user": "x"})
        assert (status, answer["error"]["fields"][0]["field"]) == (422, "query.user")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param("[" * 100_000, 400, id="too deep"),
        pytest.param('{"user_id": ' + "1" * 5_000 + "}", 400, id="a number too long"),
        pytest.param("{'user_id': 1}", 400, id="not JSON"),
        pytest.param("", 422, id="empty"),
        pytest.param("null", 422, id="null"),
        pytest.param("[]", 422, id="a list"),
        pytest.param('{"user_id": "\\ud800"}', 400, id="half a character"),
        pytest.param('{"user_id": "anna", "\\ud800": 1}', 400, id="half a character as a name"),
        pytest.param('{"user_id": "anna", "limit": NaN}', 422, id="not a number"),
        pytest.param('{"user_id": "anna", "limit": 1e400}', 422, id="infinity"),
    ],
)
def test_bodies_that_nobody_means(api: Api, body: str, status: int) -> None:
    assert call(api, "POST", "/v1/recommendations", body)[0] == status


@pytest.mark.parametrize(("method", "path", "body", "scope"), ROUTES)
def test_every_route_wants_its_scope(
    api: Api, method: str, path: str, body: Any, scope: str
) -> None:
    others = " ".join(s for s in f"{READ} {WRITE}".split() if s != scope)
    assert call(api, method, path, body, token={})[0] == 401
    assert call(api, method, path, body, token=claims(exp=str(int(NOW) - 1)))[0] == 401
    assert call(api, method, path, body, token=claims(client_id="stranger"))[0] == 403
    assert call(api, method, path, body, token=claims(scope=others))[0] == 403
    assert call(api, method, path, "{", token=claims(scope=others))[0] == 403, "before the body"
    assert call(api, method, path, body, token=claims(scope=scope))[0] in {200, 404}


def test_every_route_is_marked(api: Api) -> None:
    for route in [*api._static_routes, *api._dynamic_routes]:
        assert hasattr(route.func, "scope"), route.path
    assert call(api, "GET", "/health", token={}) == (200, {"status": "ok"})


def test_an_end_user_may_name_themselves_only(api: Api) -> None:
    anna = claims(sub="1234", username="anna")
    assert call(api, "POST", "/v1/recommendations", {"user_id": "anna"}, token=anna)[0] == 200
    assert call(api, "POST", "/v1/recommendations", {"user_id": "boris"}, token=anna)[0] == 403
    assert call(api, "PUT", "/v1/users/anna", {"age": 3}, token=anna)[0] == 200
    for method, body in (("GET", None), ("PUT", {"age": 9}), ("DELETE", None)):
        assert call(api, method, "/v1/users/boris", body, token=anna)[0] == 403


def test_tenants_do_not_see_each_other(api: Api) -> None:
    other = claims(client_id="another", sub="another")
    call(api, "PUT", "/v1/videos/secret", {"title": "Secret"})
    assert call(api, "GET", "/v1/videos/secret", token=other)[0] == 404
    status, body = call(api, "POST", "/v1/recommendations", {"user_id": "anna"}, token=other)
    assert (status, body["error"]["code"]) == (503, "no_model")


def test_our_faults_are_not_explained(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr("vireo.catalogue.store.Catalogue.get", broken)
    status, body = call(api, "GET", "/v1/videos/v1")
    assert (status, body["error"]["code"]) == (500, "internal_error")
    assert "hunter2" not in json.dumps(body)


def test_threads_keep_their_requests_apart(api: Api) -> None:
    def one(j: int) -> tuple[str, str, str]:
        user = f"u{j}"
        token = claims(sub="1", username=user)
        status, body = call(
            api, "POST", "/v1/recommendations", {"user_id": user}, token=token, request_id=f"r{j}"
        )
        assert status == 200
        return user, body["user_id"], body["request_id"]

    with ThreadPoolExecutor(8) as pool:
        for j, (user, answered, request_id) in enumerate(pool.map(one, range(200))):
            assert (user, request_id) == (answered, f"r{j}")


def test_the_documentation_names_every_route_and_error(api: Api) -> None:
    document = json.loads(api.get_openapi_json_schema())
    for method, path, _, _ in ROUTES:
        operations = [
            operations[method.lower()]
            for template, operations in document["paths"].items()
            if method.lower() in operations
            and template.split("/")[:3] == path.split("/")[:3]
            and len(template.split("/")) == len(path.split("/"))
        ]
        assert operations, (method, path)
        assert all({"401", "403", "422"} <= o["responses"].keys() for o in operations)
    health = document["paths"]["/health"]["get"]
    ok = health["responses"]["200"]["content"]["application/json"]["schema"]
    assert ok == {"$ref": "#/components/schemas/Health"}
    schemas = document["components"]["schemas"]
    assert {"Recommendations", "Item", "ErrorBody", "VideoBody"} <= schemas.keys()


#: What a process needs neither to be ready nor for its first answer: packages that the layers do
#: not have, and modules that cost what only some process, or none, gains by.
HEAVY = {"catboost", "pandas", "scipy", "jax", "pyarrow", "duckdb", "matplotlib"}
HEAVY |= {"redis", "numpy.ma", "aws_lambda_powertools.event_handler.openapi.models"}


@pytest.mark.parametrize("place", ["local", "aws"])
def test_the_request_path_imports_nothing_heavy(place: str) -> None:
    heavy = HEAVY | ({"boto3"} if place == "local" else set())
    assert not loaded_by(f"import recommend.app, vireo.homes.{place}") & heavy


def test_the_first_answer_loads_nothing_heavy(opened: LocalHome) -> None:
    event = event_of("POST", "/v1/recommendations", {"user_id": "anna"})
    code = f"""
from recommend.app import build
from vireo.homes.clock import MovableClock
from vireo.homes.local import home
answer = build(home({str(opened.folder)!r}, clock=MovableClock({NOW}))).resolve({event!r}, None)
assert answer["statusCode"] == 200 and '"degraded":[]' in answer["body"], answer
"""
    assert not loaded_by(code) & (HEAVY | {"boto3"})


def loaded_by(code: str) -> set[str]:
    """The modules that a new process has loaded when it has run that code."""
    where = [str(Path("layers/core/python").resolve()), str(Path("lambdas").resolve())]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(where)}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())
