"""Alarms as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct


@dataclass(frozen=True)
class Row:
    """An alarm on a metric that is above a threshold, or below one, for a number of periods.

    Missing data are good if the metric counts faults, and bad if it shows activity: then ``below``
    is the threshold, or ``silence`` is set. A test checks that docs/operations.md has an entry of
    the alarm's name.
    """

    name: str
    metric: cloudwatch.IMetric
    what: str
    above: float | None = None
    below: float | None = None
    periods: int = 1
    #: Number of these that must breach; None: all. Fewer if the latest may still be incomplete.
    of_them: int | None = None
    silence: bool = False

    def alarm(self, scope: Construct) -> cloudwatch.Alarm:
        """The alarm, in a scope; the caller adds its actions."""
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
