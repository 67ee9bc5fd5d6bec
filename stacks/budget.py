"""A budget for the month: who is told of alarms is told of money, too."""

from __future__ import annotations

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.environments import Environment

#: What is told, in percent of the limit.
TOLD = (("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100))


def budget(scope: Construct, id: str, environment: Environment, told: sns.ITopic) -> None:
    """A budget of the environment's limit, for the whole account.

    A budget by tag would see nothing until somebody activates the tag for billing, and never what
    cannot be tagged; the whole account can only be told of too early. It has no name, because a
    change of what is told replaces it.
    """
    budgets.CfnBudget(
        scope,
        id,
        budget={
            "budgetType": "COST",
            "timeUnit": "MONTHLY",
            "budgetLimit": {"amount": environment.budget, "unit": "USD"},
        },
        notifications_with_subscribers=[
            {
                "notification": {
                    "notificationType": kind,
                    "comparisonOperator": "GREATER_THAN",
                    "threshold": percent,
                    "thresholdType": "PERCENTAGE",
                },
                "subscribers": [{"subscriptionType": "SNS", "address": told.topic_arn}],
            }
            for kind, percent in TOLD
        ],
    )
