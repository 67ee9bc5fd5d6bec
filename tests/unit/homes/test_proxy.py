"""The events that the laptop's gateway sends: those that API Gateway sends."""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from tests.servers import running
from vireo.homes.local.gateway import Gateway


def sent(target: str, operations: list[tuple[str, str, bool]], **claims: Any) -> dict[str, Any]:
    """The event of a request with that target, through a server."""
    events: list[dict[str, Any]] = []

    def handler(event: dict[str, Any], _: Any) -> dict[str, Any]:
        events.append(event)
        return {"statusCode": 204}

    with running(Gateway(handler, lambda _: claims, operations)) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
        connection.putrequest("GET", target)
        for name, value in (("Authorization", "Bearer t"), ("X-Probe", "1"), ("X-Probe", "2")):
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == 204
        connection.close()
    (event,) = events
    return event


@pytest.mark.parametrize(
    "part",
    [
        "space%20value",
        "anna%40example.com",
        "anna@example.com",
        "test%2Balias",
        "test+alias",
        "slash%2Fvalue",
        "literal%2525value",
        "unicode-%CE%BB-%E4%B8%96",
        "bad%zz",
    ],
)
def test_a_path_is_handed_on_as_it_was_sent(part: str) -> None:
    """As captures of live events of REST APIs show."""
    event = sent(f"/v1/users/{part}/?a=1", [("GET", "/v1/users/{user_id}", False)])
    assert event["resource"] == "/v1/users/{user_id}"
    assert event["path"] == f"/v1/users/{part}/", "with its last slash"
    assert event["pathParameters"] == {"user_id": part}, "without"
    assert event["requestContext"]["path"] == f"/live/v1/users/{part}/"
    assert event["requestContext"]["resourcePath"] == "/v1/users/{user_id}"
    assert event["requestContext"]["stage"] == "live"


def test_a_query_is_handed_on_decoded() -> None:
    """As captures of live events of REST APIs show."""
    target = "/x?empty=&encodedPlus=a%2Bb&literalPlus=a+b&repeat=one&repeat=two"
    event = sent(target, [("GET", "/x", False)])
    assert event["multiValueQueryStringParameters"] == {
        "empty": [""],
        "encodedPlus": ["a+b"],
        "literalPlus": ["a b"],
        "repeat": ["one", "two"],
    }
    assert event["queryStringParameters"]["repeat"] == "two"
    assert (event["headers"]["x-probe"], event["multiValueHeaders"]["x-probe"]) == ("2", ["1", "2"])
    assert event["pathParameters"] is None


def test_what_is_spelt_out_goes_before_a_parameter() -> None:
    operations = [
        ("GET", "/v1/videos/{video_id}", False),
        ("POST", "/v1/videos/batch", False),
        ("GET", "/v1/videos/{video_id}/similar", False),
    ]
    assert sent("/v1/videos/batch", operations)["resource"] == "/v1/videos/batch"
    assert sent("/v1/videos/b%61tch", operations)["resource"] == "/v1/videos/{video_id}"
    assert sent("/v1/videos/a/similar", operations)["pathParameters"] == {"video_id": "a"}
