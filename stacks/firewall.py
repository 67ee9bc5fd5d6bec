"""The web firewall in front of the API: rules begin by counting, and block once they are listed."""

from __future__ import annotations

import json
from typing import Any

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from stacks.environments import Environment
from stacks.functions import log_group

#: AWS' rule groups, with the rules that only count, whatever is listed: a body carries hundreds of
#: titles that others wrote, and a path an id that may be any printable text, so that one of them
#: would take all others along; and callers are servers, which need not say what they are.
MANAGED: dict[str, list[str]] = {
    "AWSManagedRulesAmazonIpReputationList": [],
    "AWSManagedRulesKnownBadInputsRuleSet": [
        "ExploitablePaths_URIPATH",
        "JavaDeserializationRCE_BODY",
        "JavaDeserializationRCE_URIPATH",
        "Log4JRCE_BODY",
        "Log4JRCE_URIPATH",
        "ReactJSRCE_BODY",
    ],
    "AWSManagedRulesCommonRuleSet": [
        "CrossSiteScripting_BODY",
        "CrossSiteScripting_URIPATH",
        "EC2MetaDataSSRF_BODY",
        "EC2MetaDataSSRF_URIPATH",
        "GenericLFI_BODY",
        "GenericLFI_URIPATH",
        "GenericRFI_BODY",
        "GenericRFI_URIPATH",
        "NoUserAgent_HEADER",
        "RestrictedExtensions_URIPATH",
        "SizeRestrictions_BODY",
    ],
}
#: All rules, in the order in which they are looked at.
RULES = (*MANAGED, "RateOfOneAddress", "RateOfOneClient")
#: Window in seconds in which requests are counted.
WINDOW = 60
#: The answer to who asks too often, in the service's format, as the gateway's own is.
TOO_MANY = {
    "error": {"code": "too_many_requests", "message": "Too many requests", "fields": []},
    "request_id": "",
}


def web_acl(scope: Construct, environment: Environment) -> wafv2.CfnWebACL:
    """AWS' managed rules, and rate limits for each address and for each client.

    The limit of an address is the rate of the whole API, because our callers are servers and there
    may be only one. A client is told by its token, which it has for an hour: who asks for many
    tokens has as many limits, and those of Cognito.
    """
    firewall = environment.firewall
    assert firewall is not None
    unknown = firewall.blocks - set(RULES)
    if unknown:
        raise ValueError(f"the firewall has no rule {', '.join(sorted(unknown))}")
    statements = [
        *(_managed(name) for name in MANAGED),
        _rate("IP", environment.rate),
        _rate("CUSTOM_KEYS", firewall.client_rate, keys=[_AUTHORIZATION]),
    ]
    rules = [
        _rule(priority, name, statement, blocks=name in firewall.blocks)
        for priority, (name, statement) in enumerate(zip(RULES, statements, strict=True))
    ]
    acl = wafv2.CfnWebACL(
        scope,
        "Firewall",
        scope="REGIONAL",
        default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
        visibility_config=_visible(metric_name(environment)),
        custom_response_bodies={
            "TooMany": wafv2.CfnWebACL.CustomResponseBodyProperty(
                content=json.dumps(TOO_MANY), content_type="APPLICATION_JSON"
            )
        },
        rules=rules,
    )
    _log(scope, acl, environment)
    return acl


def metric_name(environment: Environment) -> str:
    """The name of the firewall of an environment in its metrics."""
    return f"vireo-{environment.name}"


def measured(
    scope: Construct, environment: Environment, what: str, period: Duration
) -> list[cloudwatch.IMetric]:
    """``CountedRequests`` or ``BlockedRequests`` of every rule."""
    common = {"WebACL": metric_name(environment), "Region": Stack.of(scope).region}
    return [
        cloudwatch.Metric(
            namespace="AWS/WAFV2",
            metric_name=what,
            dimensions_map={**common, "Rule": name},
            statistic="Sum",
            period=period,
            label=f"{name} {what.removesuffix('Requests').lower()}",
        )
        for name in RULES
    ]


_AUTHORIZATION = wafv2.CfnWebACL.RateBasedStatementCustomKeyProperty(
    header=wafv2.CfnWebACL.RateLimitHeaderProperty(
        name="authorization",
        text_transformations=[wafv2.CfnWebACL.TextTransformationProperty(priority=0, type="NONE")],
    )
)


def _managed(name: str) -> wafv2.CfnWebACL.StatementProperty:
    return wafv2.CfnWebACL.StatementProperty(
        managed_rule_group_statement=wafv2.CfnWebACL.ManagedRuleGroupStatementProperty(
            vendor_name="AWS",
            name=name,
            rule_action_overrides=[
                wafv2.CfnWebACL.RuleActionOverrideProperty(
                    name=counted,
                    action_to_use=wafv2.CfnWebACL.RuleActionProperty(count={}),
                )
                for counted in MANAGED[name]
            ],
        )
    )


def _rate(
    kind: str,
    rate: int,
    keys: list[wafv2.CfnWebACL.RateBasedStatementCustomKeyProperty] | None = None,
) -> wafv2.CfnWebACL.StatementProperty:
    return wafv2.CfnWebACL.StatementProperty(
        rate_based_statement=wafv2.CfnWebACL.RateBasedStatementProperty(
            aggregate_key_type=kind,
            custom_keys=keys,
            limit=rate * WINDOW,
            evaluation_window_sec=WINDOW,
        )
    )


def _rule(
    priority: int, name: str, statement: wafv2.CfnWebACL.StatementProperty, *, blocks: bool
) -> wafv2.CfnWebACL.RuleProperty:
    """A rule of ours has an action; a group of AWS' keeps those of its rules, or only counts."""
    counts: dict[str, Any] = {"count": {}}
    group = name in MANAGED
    return wafv2.CfnWebACL.RuleProperty(
        name=name,
        priority=priority,
        statement=statement,
        visibility_config=_visible(name),
        override_action=({"none": {}} if blocks else counts) if group else None,
        action=None if group else ({"block": {"customResponse": _REFUSED}} if blocks else counts),
    )


_REFUSED = {
    "responseCode": 429,
    "customResponseBodyKey": "TooMany",
    "responseHeaders": [{"name": "Retry-After", "value": str(WINDOW)}],
}


def _visible(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        metric_name=name, cloud_watch_metrics_enabled=True, sampled_requests_enabled=True
    )


def _log(scope: Construct, acl: wafv2.CfnWebACL, environment: Environment) -> None:
    """Write logs to a group with the prefix that WAF demands, by an ARN without its ``:*``."""
    group = log_group(
        scope, "FirewallLogs", environment, name=f"aws-waf-logs-vireo-{environment.name}"
    )
    wafv2.CfnLoggingConfiguration(
        scope,
        "FirewallLogging",
        resource_arn=acl.attr_arn,
        log_destination_configs=[
            Stack.of(scope).format_arn(
                service="logs",
                resource="log-group",
                resource_name=group.log_group_name,
                arn_format=ArnFormat.COLON_RESOURCE_NAME,
            )
        ],
        redacted_fields=[
            wafv2.CfnLoggingConfiguration.FieldToMatchProperty(
                single_header={"Name": "authorization"}
            )
        ],
    )
