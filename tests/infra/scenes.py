"""A stretch of time in prod: what its functions write, and what AWS measures of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tests.infra.account import Account
from tests.infra.aws_metrics import publish
from tests.infra.cloudwatch import LATE, Alarm, CloudWatch, Dimensions
from tests.infra.faults import Running

MINUTE, HOUR = 60.0, 3600.0
Happening = Callable[[Running], None]


@dataclass(frozen=True)
class Prod:
    """What has a name in prod, as metrics know it."""

    account: Account

    @cached_property
    def alarms(self) -> Mapping[str, Mapping[str, Any]]:
        """By the name that their construct has: the logical id without its hash."""
        found = self.account.properties("AWS::CloudWatch::Alarm")
        return {_plain(name): properties for name, properties in found}

    def alarm(self, name: str, *, fills_nothing: bool) -> Alarm:
        """One of them."""
        return Alarm(name, self.alarms[name], fills_nothing)

    def function(self, name: str, alias: str | None = "live", version: str = "7") -> Dimensions:
        """A function; behind an alias, also the version that is executed."""
        if alias is None:
            return {"FunctionName": name, "Resource": name}
        resource = f"{name}:{alias}"
        return {"FunctionName": name, "Resource": resource, "ExecutedVersion": version}

    @property
    def api(self) -> Dimensions:
        """The API and its stage."""
        ((_, found),) = self.account.properties("AWS::ApiGateway::RestApi")
        return {"ApiName": found["Name"], "Stage": "live"}

    def table(self, name: str) -> Dimensions:
        """A table, by what settings call it."""
        variables = self.account.variables("RecommendFunction")
        return {"TableName": variables[f"VIREO_{name.upper()}_TABLE"]}

    @property
    def stream(self) -> Dimensions:
        """The stream of events."""
        return {"StreamName": self.account.variables("RecommendFunction")["VIREO_STREAM"]}

    def one(self, kind: str, dimension: str, suffix: str = "") -> Dimensions:
        """The only resource of a type, under the name of its dimension."""
        ((name, _),) = self.account.properties(kind)
        return {dimension: f"{name}{suffix}"}


def _plain(logical_id: str) -> str:
    return logical_id[:-8]


@dataclass
class Scene:
    """What happens between two moments, in seconds."""

    prod: Prod
    emitted: Callable[[Happening, str], Sequence[str]]
    start: float = 0.0
    end: float = HOUR
    cloud: CloudWatch = field(default_factory=CloudWatch)

    def emit(
        self, what: Happening, *, every: float = 1.0, version: str = "7", **span: float
    ) -> None:
        """A version of a function writes the same lines again and again."""
        lines = self.emitted(what, version)
        for at in self._times(every, **span):
            for line in lines:
                self.cloud.read(line, at)

    def aws(
        self,
        service: str,
        name: str,
        value: float | Callable[[float], float],
        of: Dimensions,
        *,
        every: float = MINUTE,
        late: float = LATE,
        **span: float,
    ) -> None:
        """A service measures a value, or one that depends on the time, again and again."""
        for at in self._times(every, **span):
            measured = value(at) if callable(value) else value
            publish(self.cloud, (f"AWS/{service}", name), measured, at, of, late=late)

    def rings(self, name: str) -> list[float | None]:
        """When an alarm rings in this time, by both readings of what is not documented."""
        both = [self.prod.alarm(name, fills_nothing=fills) for fills in (False, True)]
        return [alarm.rings(self.cloud, self.start, self.end) for alarm in both]

    def _times(
        self, every: float, begin: float | None = None, end: float | None = None
    ) -> list[float]:
        first, last = (a if b is None else b for a, b in ((self.start, begin), (self.end, end)))
        return [float(at) for at in np.arange(first + every / 2, last, every)]
