"""Metric math, as far as our alarms use it; what they do not use is not understood.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

#: Values by the number of their period; a period that is not there is missing.
Values = dict[int, float]
Found = float | Values | list[Values]

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class Formula:
    """An expression over metrics, for some periods.

    ``fills_nothing``: what ``FILL`` makes of a metric without a single value in all of them. The
    documentation leaves it open, so alarms have to be right whichever it is.
    """

    metrics: Mapping[str, Values]
    periods: Sequence[int]
    fills_nothing: bool = False

    def value(self, expression: str) -> Values:
        """The one time series that an alarm needs. Raises ValueError for anything else."""
        found = self._value(ast.parse(expression, mode="eval").body)
        if not isinstance(found, dict):
            raise ValueError(f"not one time series: {expression}")
        return found

    def _value(self, node: ast.expr) -> Found:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name):
                return dict(self.metrics[name])
            case ast.List(elts=parts):
                return [series for part in parts for series in self._several(part)]
            case ast.BinOp(left=left, op=op, right=right):
                return self._calculated(self._value(left), _OPERATORS[type(op)], self._value(right))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self._called(name, arguments)
        raise ValueError(f"not understood: {ast.unparse(node)}")

    def _several(self, node: ast.expr) -> list[Values]:
        found = self._value(node)
        if isinstance(found, float):
            raise ValueError(f"a number is no time series: {ast.unparse(node)}")
        return found if isinstance(found, list) else [found]

    def _called(self, name: str, arguments: list[ast.expr]) -> Found:
        match name, arguments:
            case "METRICS", []:
                return [dict(values) for values in self.metrics.values()]
            case "FILL", [what, ast.Constant(value=int() | float() as filler)]:
                found = self._value(what)
                if isinstance(found, list):
                    return [self._filled(one, filler) for one in found]
                if isinstance(found, dict):
                    return self._filled(found, filler)
            case "SUM" | "MAX", [what]:
                # Of one series it would be a number that depends on how many periods are looked at.
                found = self._value(what)
                if isinstance(found, list):
                    return _together(found, sum if name == "SUM" else max)
        raise ValueError(f"not understood: {name} of {[ast.unparse(a) for a in arguments]}")

    def _filled(self, series: Values, filler: float) -> Values:
        if not series and self.fills_nothing:
            return {}
        return {period: series.get(period, filler) for period in self.periods}

    @staticmethod
    def _calculated(
        left: Found, calculate: Callable[[float, float], float], right: Found
    ) -> Values:
        """Of two series only where both have a value."""
        match left, right:
            case dict(), dict():
                return {p: calculate(left[p], right[p]) for p in left if p in right}
            case dict(), float():
                return {p: calculate(value, right) for p, value in left.items()}
            case float(), dict():
                return {p: calculate(left, value) for p, value in right.items()}
        raise ValueError("arithmetic is understood between series and numbers only")


def _together(found: list[Values], combine: Callable[[list[float]], float]) -> Values:
    """Series of several, where any of them has a value."""
    periods = sorted({period for series in found for period in series})
    return {p: combine([series[p] for series in found if p in series]) for p in periods}
