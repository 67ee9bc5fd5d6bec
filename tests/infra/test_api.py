"""The API in AWS has the documented routes, asks for their scopes, and refuses as ours do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import events.app
import recommend.app
from stacks.environments import ENVIRONMENTS
from stacks.routes import routes
from tests.infra.templates import Templates, text
from vireo.api import Api
from vireo.homes.local import home
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
            assert route.path == "/health"
            assert method["AuthorizationType"] == "NONE"
        else:
            assert method["AuthorizationType"] == "COGNITO_USER_POOLS"
            assert method["AuthorizationScopes"] == [route.scope]
            assert method["AuthorizerId"]
        assert method["Integration"]["Type"] == "AWS_PROXY"
        assert "Live" in json.dumps(method["Integration"]["Uri"]), "the alias, not a version"


def test_whatever_else_is_done_to_a_path_reaches_the_function_with_a_token(
    cloud: Templates,
) -> None:
    """So that a wrong method is told which there are, as on a laptop."""
    found = methods(cloud)
    for route in routes():
        other = found["ANY", route.path]
        assert other["AuthorizationType"] == "COGNITO_USER_POOLS"
        assert set(other["AuthorizationScopes"]) == set(SCOPES)
        assert other["Integration"] == found[route.method, route.path]["Integration"]


@pytest.mark.parametrize("build", [recommend.app.build, events.app.build])
def test_every_route_goes_to_the_function_that_has_it(
    cloud: Templates, build: Callable[[Home], Api], tmp_path: Path
) -> None:
    stack = "events" if build is events.app.build else "recommender"
    going = {
        (method, path)
        for (method, path), found in methods(cloud).items()
        if f"vireo-{cloud.environment}-{stack}:" in json.dumps(found["Integration"]["Uri"])
        and method != "ANY"
    }
    document = json.loads(build(home(tmp_path)).get_openapi_json_schema())
    has = {(verb.upper(), path) for path, verbs in document["paths"].items() for verb in verbs}
    # Every service says whether it is up; the recommender is asked.
    assert going == (has if stack == "recommender" else has - {("GET", "/health")})


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
    assert {("THROTTLED", "429"), ("UNAUTHORIZED", "401"), ("DEFAULT_5XX", None)} <= seen


def test_limits_and_logs(cloud: Templates) -> None:
    stage = cloud.one("AWS::ApiGateway::Stage").properties
    environment = ENVIRONMENTS[cloud.environment]
    settings = {(s["HttpMethod"], s["ResourcePath"]): s for s in stage["MethodSettings"]}
    all_routes = settings["*", "/*"]
    assert all_routes["ThrottlingRateLimit"] == environment.rate
    assert all_routes["ThrottlingBurstLimit"] == environment.burst
    assert all_routes["DataTraceEnabled"] is False
    assert settings["POST", "/~1v1~1videos~1batch"]["ThrottlingRateLimit"] < environment.rate
    assert stage["TracingEnabled"] is True
    logged = json.loads(stage["AccessLogSetting"]["Format"])
    assert {"request_id", "client_id", "route", "status", "milliseconds"} <= set(logged)


def test_one_permission_lets_the_api_call_a_function(cloud: Templates) -> None:
    permissions = list(cloud.resources("AWS::Lambda::Permission"))
    functions = {text(p.properties["FunctionName"]).split(":")[0] for p in permissions}
    assert len(permissions) == len(functions) == 2
    for permission in permissions:
        assert permission.properties["Principal"] == "apigateway.amazonaws.com"
        assert "ApiF" in json.dumps(permission.properties["SourceArn"])


def test_the_firewall_blocks_and_lets_batches_through(clouds: Mapping[str, Templates]) -> None:
    acl = clouds["prod"].one("AWS::WAFv2::WebACL").properties
    rules = {rule["Name"]: rule for rule in acl["Rules"]}
    common = rules["AWSManagedRulesCommonRuleSet"]["Statement"]["ManagedRuleGroupStatement"]
    assert [o["Name"] for o in common["RuleActionOverrides"]] == ["SizeRestrictions_BODY"]
    assert all(
        rule.get("OverrideAction") == {"None": {}} or rule.get("Action") == {"Block": {}}
        for rule in rules.values()
    )
    (association,) = clouds["prod"].resources("AWS::WAFv2::WebACLAssociation")
    assert "Stage" in json.dumps(association.properties["ResourceArn"])
