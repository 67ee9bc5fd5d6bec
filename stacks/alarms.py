"""An alarm as a row of a table, and how it is made."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct


@dataclass(frozen=True)
class Row:
    """Rings when a metric was above a threshold, or below one, for so many periods.

    What is missing is well where the metric counts faults, and a fault where the metric says that
    something goes on: there ``below`` is the threshold, or ``silence`` is set.
    Its name is that of its entry in docs/operations.md, which a test looks for.
    """

    name: str
    metric: cloudwatch.IMetric
    what: str
    above: float | None = None
    below: float | None = None
    periods: int = 1
    #: Of these so many; None: all. Fewer, where the latest period may not be complete yet.
    of_them: int | None = None
    silence: bool = False

    def alarm(self, scope: Construct) -> cloudwatch.Alarm:
        """The alarm, in a scope; whom it tells is added to it."""
        limit, compared = self.above, cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
        if limit is None:
            limit, compared = self.below, cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
        assert limit is not None, self.name
        missing = cloudwatch.TreatMissingData
        breaching = self.silence or self.above is None
        return cloudwatch.Alarm(
            scope,
            self.name,
            alarm_description=f"{self.what}. docs/operations.md#{self.name.lower()}",
            metric=self.metric,
            threshold=limit,
            evaluation_periods=self.periods,
            datapoints_to_alarm=self.of_them,
            comparison_operator=compared,
            treat_missing_data=missing.BREACHING if breaching else missing.NOT_BREACHING,
        )
