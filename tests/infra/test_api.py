"""The API in AWS has the documented routes, asks for their scopes, and refuses as ours do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import events.app
import recommend.app
from stacks.environments import ENVIRONMENTS
from stacks.routes import DOCUMENT, routes
from tests.infra.running import request
from tests.infra.templates import Templates, text
from vireo.api import Api
from vireo.homes.local import gateway, home
from vireo.identity import SCOPES
from vireo.ports import Home
from vireo.problems import ErrorBody


def methods(cloud: Templates) -> dict[tuple[str, str], dict[str, Any]]:
    """Methods of the API by verb and path."""
    parents = {
        r.id: (r.properties["ParentId"], r.properties["PathPart"])
        for r in cloud.resources("AWS::ApiGateway::Resource")
    }

    def path(reference: dict[str, Any]) -> str:
        if "Fn::GetAtt" in reference:
            return ""
        parent, part = parents[reference["Ref"]]
        return f"{path(parent)}/{part}"

    return {
        (m.properties["HttpMethod"], path(m.properties["ResourceId"])): m.properties
        for m in cloud.resources("AWS::ApiGateway::Method")
    }


def test_it_has_the_documented_routes_and_their_scopes(cloud: Templates) -> None:
    found = methods(cloud)
    documented = {(route.method, route.path) for route in routes()}
    assert set(found) == documented | {("ANY", path) for _, path in documented}
    for route in routes():
        method = found[route.method, route.path]
        if route.scope is None:
            continue
        assert method["AuthorizationType"] == "COGNITO_USER_POOLS"
        assert method["AuthorizationScopes"] == [route.scope]
        assert method["AuthorizerId"]
        assert method["Integration"]["Type"] == "AWS_PROXY"
        assert "Live" in json.dumps(method["Integration"]["Uri"]), "the alias, not a version"


def test_what_needs_no_token_calls_no_function(cloud: Templates, tmp_path: Path) -> None:
    """The gateway says what the function would, and what a laptop's gateway says."""
    (open_to_all,) = [r for r in routes() if r.scope is None]
    assert (open_to_all.method, open_to_all.path) == ("GET", "/health")
    method = methods(cloud)["GET", "/health"]
    assert method["AuthorizationType"] == "NONE"
    integration = method["Integration"]
    assert integration["Type"] == "MOCK"
    assert json.loads(integration["RequestTemplates"]["application/json"]) == {"statusCode": 200}
    (said,) = integration["IntegrationResponses"]
    assert method["MethodResponses"] == [{"StatusCode": said["StatusCode"]}]
    body = said["ResponseTemplates"]["application/json"]
    function = recommend.app.build(home(tmp_path)).resolve(request("GET", "/health"), None)
    assert body == function["body"] == gateway.HEALTH.decode()


def test_whatever_else_is_done_to_a_path_reaches_the_function_with_a_token(
    cloud: Templates,
) -> None:
    """So that a wrong method is told which there are, as on a laptop."""
    found = methods(cloud)
    for route in routes():
        other = found["ANY", route.path]
        assert other["AuthorizationType"] == "COGNITO_USER_POOLS"
        assert set(other["AuthorizationScopes"]) == set(SCOPES)
        if route.scope is not None:
            assert other["Integration"] == found[route.method, route.path]["Integration"]
        else:
            assert "Live" in json.dumps(other["Integration"]["Uri"])


@pytest.mark.parametrize("build", [recommend.app.build, events.app.build])
def test_every_route_goes_to_the_function_that_has_it(
    cloud: Templates, build: Callable[[Home], Api], tmp_path: Path
) -> None:
    stack = "events" if build is events.app.build else "recommender"
    going = {
        (method, path)
        for (method, path), found in methods(cloud).items()
        if f"vireo-{cloud.environment}-{stack}:" in json.dumps(found["Integration"].get("Uri"))
        and method != "ANY"
    }
    document = json.loads(build(home(tmp_path)).get_openapi_json_schema())
    has = {(verb.upper(), path) for path, verbs in document["paths"].items() for verb in verbs}
    assert going == has - {("GET", "/health")}


def test_clients_can_have_every_scope_and_no_other(cloud: Templates) -> None:
    server = cloud.one("AWS::Cognito::UserPoolResourceServer").properties
    names = {f"{server['Identifier']}/{s['ScopeName']}" for s in server["Scopes"]}
    assert names == set(SCOPES)
    client = cloud.one("AWS::Cognito::UserPoolClient").properties
    assert client["AllowedOAuthFlows"] == ["client_credentials"]
    assert client["GenerateSecret"] is True
    assert len(client["AllowedOAuthScopes"]) == len(SCOPES)
    pool = cloud.one("AWS::Cognito::UserPool").properties
    assert pool["AdminCreateUserConfig"] == {"AllowAdminCreateUserOnly": True}


@pytest.mark.parametrize(
    "operation",
    [
        {},
        {"tags": ["a"]},
        {"tags": ["a"], "security": []},
        {"tags": ["a"], "security": [{"token": []}]},
        {"tags": ["a"], "security": [{"token": ["a", "b"]}]},
        {"tags": ["a", "b"], "security": [{"token": ["a"]}]},
        {"security": [{}]},
    ],
)
def test_a_route_that_does_not_say_who_may_call_it_and_whose_it_is_is_refused(
    operation: dict[str, Any], tmp_path: Path
) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps({"paths": {"/v1/secret": {"get": operation}}}))
    with pytest.raises(ValueError, match="get /v1/secret"):
        list(routes(document))


def test_what_the_gateway_refuses_looks_like_our_errors(cloud: Templates) -> None:
    seen = set()
    for response in cloud.resources("AWS::ApiGateway::GatewayResponse"):
        template = response.properties["ResponseTemplates"]["application/json"]
        filled = template.replace("$context.error.messageString", '"because"').replace(
            "$context.requestId", "r-1"
        )
        body = ErrorBody.model_validate_json(filled)
        assert body.request_id == "r-1"
        assert body.error.message
        seen.add((response.properties["ResponseType"], response.properties.get("StatusCode")))
        headers = response.properties.get("ResponseParameters", {})
        told = {name.rpartition(".")[2]: value.strip("'") for name, value in headers.items()}
        assert told.get("Retry-After", "0").isdecimal()
        assert ("Retry-After" in told) == (response.properties["ResponseType"] == "THROTTLED")
    assert {("THROTTLED", "429"), ("UNAUTHORIZED", "401"), ("DEFAULT_5XX", None)} <= seen


def test_limits_and_logs(cloud: Templates) -> None:
    stage = cloud.one("AWS::ApiGateway::Stage").properties
    environment = ENVIRONMENTS[cloud.environment]
    settings = {(s["HttpMethod"], s["ResourcePath"]): s for s in stage["MethodSettings"]}
    all_routes = settings["*", "/*"]
    assert all_routes["ThrottlingRateLimit"] == environment.rate
    assert all_routes["ThrottlingBurstLimit"] == environment.burst
    for watched in settings.values():  # those of a method replace all of the stage's
        assert watched["DataTraceEnabled"] is False
        assert watched["MetricsEnabled"] is True
        assert watched["LoggingLevel"] == "ERROR"
    assert stage["TracingEnabled"] is True
    logged = json.loads(stage["AccessLogSetting"]["Format"])
    assert {"request_id", "client_id", "route", "status", "milliseconds"} <= set(logged)


def arrays(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[int]:
    """The most items of arrays that a body must have, in any of its forms."""
    if "$ref" in schema:
        yield from arrays(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for form in schema.get("oneOf", []):
        yield from arrays(form, schemas)
    for name in schema.get("required", []):
        if schema["properties"][name].get("type") == "array":
            yield schema["properties"][name]["maxItems"]


def test_routes_that_carry_hundreds_of_things_are_throttled_as_such(cloud: Templates) -> None:
    document = json.loads(DOCUMENT.read_text())
    carrying = {
        (method.upper(), path)
        for path, verbs in document["paths"].items()
        for method, operation in verbs.items()
        for content in operation.get("requestBody", {}).get("content", {}).values()
        if max(arrays(content["schema"], document["components"]["schemas"]), default=1) >= 100
    }
    assert carrying == {("POST", "/v1/events"), ("POST", "/v1/videos/batch")}
    stage = cloud.one("AWS::ApiGateway::Stage").properties
    environment = ENVIRONMENTS[cloud.environment]
    throttled = {
        (s["HttpMethod"], s["ResourcePath"].replace("~1", "/").removeprefix("/")): s
        for s in stage["MethodSettings"]
        if s["HttpMethod"] != "*"
    }
    assert set(throttled) == carrying
    for limits in throttled.values():
        assert limits["ThrottlingRateLimit"] <= environment.rate / 10
        assert 1 <= limits["ThrottlingBurstLimit"] <= environment.burst / 10


def test_one_permission_lets_the_api_call_a_function(cloud: Templates) -> None:
    permissions = list(cloud.resources("AWS::Lambda::Permission"))
    functions = {text(p.properties["FunctionName"]).split(":")[0] for p in permissions}
    assert len(permissions) == len(functions) == 2
    for permission in permissions:
        assert permission.properties["Principal"] == "apigateway.amazonaws.com"
        assert "ApiF" in json.dumps(permission.properties["SourceArn"])
