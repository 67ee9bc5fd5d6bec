"""A new version gets a tenth of the requests first; what clients see of it may bring the old back.

What calls CodeDeploy: `vireo.homes.aws.releases` for the recommender, whose versions hold bundles,
and CloudFormation itself, when code of the events' function changes.
"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from stacks.alarms import Row
from stacks.checks import accept
from stacks.emitted import worst_version

#: How requests are shifted to a new version, by the name that CodeDeploy has for it.
CANARY = codedeploy.LambdaDeploymentConfig.CANARY_10_PERCENT_5_MINUTES


class Canary(Construct):
    """A deployment group of an alias, and the alarms that stop it while they ring.

    Two minutes of three must be bad, and CloudWatch knows of them a minute or two late: that is
    within the five that a new version is tried.
    """

    def __init__(
        self, scope: Construct, id: str, *, alias: lambda_.Alias, namespace: str, service: str
    ) -> None:
        super().__init__(scope, id)
        rows = _rows(alias, namespace, service, service.title())
        self.alarms: list[cloudwatch.Alarm] = [row.alarm(scope) for row in rows]
        self.group = codedeploy.LambdaDeploymentGroup(
            scope, "Shift", alias=alias, deployment_config=CANARY, alarms=list(self.alarms)
        )
        accept(
            self.group,
            "IAM4",
            "AWS' own policy for CodeDeploy and Lambda changes with the service.",
            "Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited",
        )


# A table, an alarm to a row:
# fmt: off
def _rows(alias: lambda_.Alias, namespace: str, service: str, name: str) -> list[Row]:
    """Of one service. The first and the last look at the alias, so at both versions together."""
    degraded = worst_version(namespace, "AnswerDegraded", service)
    recommender = [
        Row("RecommendDegrades", degraded, above=0.1, periods=3, of_them=2,
            what="A version answers with less than it should: stages fail, or stores are late"),
    ]
    return [
        Row(f"{name}Errors", _failing(alias), above=0.02, periods=3, of_them=2,
            what="Invocations fail: they crash, run out of memory or of time"),
        Row(f"{name}Fails", worst_version(namespace, "AnswerFailed", service),
            above=0.05, periods=3, of_them=2,
            what="More than 5% of a version's answers are our fault"),
        *(recommender if service == "recommend" else []),
        Row(f"{name}Slow", alias.metric_duration(period=Duration.minutes(1), statistic="p99"),
            above=1000, periods=3,
            what="Invocations are slow"),
    ]
# fmt: on


def _failing(alias: lambda_.Alias) -> cloudwatch.IMetric:
    """The share of invocations that fail. A new version that always does makes it a tenth."""
    minute = Duration.minutes(1)
    return cloudwatch.MathExpression(
        expression="failed / invoked",
        using_metrics={
            "failed": alias.metric_errors(period=minute, statistic="Sum"),
            "invoked": alias.metric_invocations(period=minute, statistic="Sum"),
        },
        period=minute,
    )
