"""The HTTPS API: the documented routes, authorisation, rate limits, and a firewall."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from stacks.callers import CallersStack
from stacks.checks import accept
from stacks.environments import Environment
from stacks.firewall import web_acl
from stacks.functions import log_group
from stacks.routes import routes

_ITS_OWN = "$context.error.messageString"
#: Headers of its errors; of values, quotes say that they are no variables.
HEADERS = {
    "UNAUTHORIZED": {"WWW-Authenticate": "'Bearer'"},
    "THROTTLED": {"Retry-After": "'1'"},
}
#: Errors of the gateway itself, by its name: our status (None: its own), code and message.
REFUSALS = {
    "UNAUTHORIZED": (401, "unauthenticated", '"a valid bearer token is needed"'),
    "ACCESS_DENIED": (403, "forbidden", _ITS_OWN),
    # That is what it calls a path that does not exist.
    "MISSING_AUTHENTICATION_TOKEN": (404, "not_found", '"there is nothing at this path"'),
    "UNSUPPORTED_MEDIA_TYPE": (415, "unsupported_media_type", _ITS_OWN),
    "REQUEST_TOO_LARGE": (413, "payload_too_large", _ITS_OWN),
    "THROTTLED": (429, "too_many_requests", _ITS_OWN),
    "WAF_FILTERED": (403, "forbidden", _ITS_OWN),
    "INTEGRATION_TIMEOUT": (504, "timeout", _ITS_OWN),
    "INTEGRATION_FAILURE": (502, "internal_error", _ITS_OWN),
    "DEFAULT_4XX": (None, "invalid_request", _ITS_OWN),
    "DEFAULT_5XX": (None, "internal_error", _ITS_OWN),
}
#: Routes whose requests carry hundreds of things, and the share of the rate that they get.
BATCHES = {("POST", "/v1/events"): 1 / 10, ("POST", "/v1/videos/batch"): 1 / 50}
#: What the gateway itself answers to who asks whether it is there: a laptop's says the same, and so
#: would the function.
HEALTH = '{"status":"ok"}'


class ApiStack(Stack):
    """A REST API whose resources are the operations of ``docs/openapi.json``."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        recommend: lambda_.IFunction,
        events: lambda_.IFunction,
        callers: CallersStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, **kwargs)
        self._environment = environment
        self.api = self._api()
        self._refusals()
        self._serve(recommend, {"events": events}, callers.pool)
        if environment.firewall:
            self._firewall()
        else:
            accept(
                self,
                "APIG3",
                "In dev there are no viewers, and nothing that a firewall would be tried on.",
            )
        CfnOutput(self, "Url", value=self.api.url)
        CfnOutput(self, "TokenUrl", value=callers.token_url)
        CfnOutput(self, "UserPoolId", value=callers.pool.user_pool_id)
        CfnOutput(self, "ClientId", value=callers.client.user_pool_client_id)

    def _api(self) -> apigateway.RestApi:
        environment = self._environment
        logs = log_group(self, "Access", environment)
        context = apigateway.AccessLogField
        fields = {
            "request_id": context.context_request_id(),
            "client_id": context.context_authorizer_claims("client_id"),
            "ip": context.context_identity_source_ip(),
            "method": context.context_http_method(),
            "route": context.context_resource_path(),
            "status": context.context_status(),
            "bytes": context.context_response_length(),
            "milliseconds": context.context_response_latency(),
            "function_milliseconds": context.context_integration_latency(),
            "refused": context.context_error_response_type(),
        }
        # Options of one method replace all of those of the stage.
        watched: dict[str, Any] = {
            "logging_level": apigateway.MethodLoggingLevel.ERROR,
            "data_trace_enabled": False,  # bodies are viewers' histories
            "metrics_enabled": True,
        }
        api = apigateway.RestApi(
            self,
            "Api",
            rest_api_name=f"vireo-{environment.name}",
            description="What should this viewer watch next?",
            endpoint_types=[apigateway.EndpointType.REGIONAL],
            cloud_watch_role=False,  # the account's, see stacks/account.py
            deploy_options=apigateway.StageOptions(
                stage_name="live",
                access_log_destination=apigateway.LogGroupLogDestination(logs),
                access_log_format=apigateway.AccessLogFormat.custom(json.dumps(fields)),
                **watched,
                tracing_enabled=True,
                throttling_rate_limit=environment.rate,
                throttling_burst_limit=environment.burst,
                method_options={
                    f"{path}/{method}": apigateway.MethodDeploymentOptions(
                        throttling_rate_limit=environment.rate * share,
                        throttling_burst_limit=int(environment.burst * share),
                        **watched,
                    )
                    for (method, path), share in BATCHES.items()
                },
            ),
        )
        accept(api, "APIG2", "The route's own model validates every request, field by field.")
        return api

    def _serve(
        self,
        recommend: lambda_.IFunction,
        others: Mapping[str, lambda_.IFunction],
        pool: cognito.UserPool,
    ) -> None:
        """Every route goes to the function of its tag; the rest to the recommender.

        So does every other method of its path, with any scope: the function then answers, as it
        does on a laptop, which methods there are. The gateway itself answers what needs no token.
        """
        authorizer = apigateway.CognitoUserPoolsAuthorizer(
            self, "Authorizer", cognito_user_pools=[pool]
        )
        # One permission for the API: one per method would exceed the policy's maximum size.
        integrate = partial(
            apigateway.LambdaIntegration, allow_test_invoke=False, scope_permission_to_method=False
        )
        rest = integrate(recommend)
        by_tag = {tag: integrate(function) for tag, function in others.items()}
        scopes = sorted({route.scope for route in routes() if route.scope is not None})
        for path, tag in {route.path: route.tag for route in routes()}.items():
            self.api.root.resource_for_path(path).add_method(
                "ANY",
                by_tag.get(tag, rest),
                authorizer=authorizer,
                authorization_type=apigateway.AuthorizationType.COGNITO,
                authorization_scopes=scopes,
            )
        for route in routes():
            integration = by_tag.get(route.tag, rest)
            resource = self.api.root.resource_for_path(route.path)
            if route.scope is not None:
                resource.add_method(
                    route.method,
                    integration,
                    authorizer=authorizer,
                    authorization_type=apigateway.AuthorizationType.COGNITO,
                    authorization_scopes=[route.scope],
                )
                continue
            self._answer_itself(resource, route.method)

    def _answer_itself(self, resource: apigateway.IResource, method: str) -> None:
        """Answer without calling a function: what needs no token must cost nearly nothing."""
        made = resource.add_method(
            method,
            apigateway.MockIntegration(
                request_templates={"application/json": '{"statusCode": 200}'},
                passthrough_behavior=apigateway.PassthroughBehavior.NEVER,
                integration_responses=[
                    apigateway.IntegrationResponse(
                        status_code="200", response_templates={"application/json": HEALTH}
                    )
                ],
            ),
            authorization_type=apigateway.AuthorizationType.NONE,
            method_responses=[apigateway.MethodResponse(status_code="200")],
        )
        for rule in ("APIG4", "COG4"):
            accept(made, rule, "It says whether the gateway is there, and nothing else.")

    def _refusals(self) -> None:
        """Give the gateway's own errors the service's format."""
        for name, (status, code, message) in REFUSALS.items():
            apigateway.GatewayResponse(
                self,
                f"Says{name.title().replace('_', '')}",
                rest_api=self.api,
                type=apigateway.ResponseType.of(name),
                status_code=None if status is None else str(status),
                response_headers=HEADERS.get(name),
                templates={
                    "application/json": f'{{"error": {{"code": "{code}", '
                    f'"message": {message}, "fields": []}}, '
                    '"request_id": "$context.requestId"}'
                },
            )

    def _firewall(self) -> None:
        acl = web_acl(self, self._environment)
        wafv2.CfnWebACLAssociation(
            self,
            "FirewallAssociation",
            resource_arn=self.api.deployment_stage.stage_arn,
            web_acl_arn=acl.attr_arn,
        )
