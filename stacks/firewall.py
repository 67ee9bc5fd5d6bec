"""The web firewall in front of the API."""

from __future__ import annotations

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from stacks.environments import Environment
from stacks.functions import log_group

#: AWS' rule groups, with the rules that only count: a batch of videos has a large body.
MANAGED = {
    "AWSManagedRulesAmazonIpReputationList": [],
    "AWSManagedRulesKnownBadInputsRuleSet": [],
    "AWSManagedRulesCommonRuleSet": ["SizeRestrictions_BODY"],
}
#: Window in seconds in which the requests of an address are counted.
WINDOW = 60


def web_acl(scope: Construct, environment: Environment) -> wafv2.CfnWebACL:
    """AWS' managed rules, and a rate limit for each address.

    The limit is the rate of the whole API, because our callers are servers and there may be only
    one.
    """
    rules = [
        _rule(
            priority,
            name,
            wafv2.CfnWebACL.StatementProperty(
                managed_rule_group_statement=wafv2.CfnWebACL.ManagedRuleGroupStatementProperty(
                    vendor_name="AWS",
                    name=name,
                    rule_action_overrides=[
                        wafv2.CfnWebACL.RuleActionOverrideProperty(
                            name=counted,
                            action_to_use=wafv2.CfnWebACL.RuleActionProperty(count={}),
                        )
                        for counted in only_counted
                    ],
                )
            ),
            override_action=wafv2.CfnWebACL.OverrideActionProperty(none={}),
        )
        for priority, (name, only_counted) in enumerate(MANAGED.items())
    ]
    rules.append(
        _rule(
            len(rules),
            "RateOfOneAddress",
            wafv2.CfnWebACL.StatementProperty(
                rate_based_statement=wafv2.CfnWebACL.RateBasedStatementProperty(
                    aggregate_key_type="IP",
                    limit=environment.rate * WINDOW,
                    evaluation_window_sec=WINDOW,
                )
            ),
            action=wafv2.CfnWebACL.RuleActionProperty(block={}),
        )
    )
    acl = wafv2.CfnWebACL(
        scope,
        "Firewall",
        scope="REGIONAL",
        default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
        visibility_config=_visible("Firewall"),
        rules=rules,
    )
    _log(scope, acl, environment)
    return acl


def _rule(
    priority: int,
    name: str,
    statement: wafv2.CfnWebACL.StatementProperty,
    *,
    action: wafv2.CfnWebACL.RuleActionProperty | None = None,
    override_action: wafv2.CfnWebACL.OverrideActionProperty | None = None,
) -> wafv2.CfnWebACL.RuleProperty:
    return wafv2.CfnWebACL.RuleProperty(
        name=name,
        priority=priority,
        statement=statement,
        action=action,
        override_action=override_action,
        visibility_config=_visible(name),
    )


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
