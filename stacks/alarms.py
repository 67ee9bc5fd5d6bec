"""An alarm as a row of a table, and how it is made."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct


@dataclass(frozen=True)
class Row:
    """Rings when a metric was above a threshold for so many periods; what is missing is well.

    Its name is that of its entry in docs/operations.md, which a test looks for.
    """

    name: str
    metric: cloudwatch.IMetric
    what: str
    above: float
    periods: int = 1

    def alarm(self, scope: Construct) -> cloudwatch.Alarm:
        """The alarm, in a scope; whom it tells is added to it."""
        return cloudwatch.Alarm(
            scope,
            self.name,
            alarm_description=f"{self.what}. docs/operations.md#{self.name.lower()}",
            metric=self.metric,
            threshold=self.above,
            evaluation_periods=self.periods,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
