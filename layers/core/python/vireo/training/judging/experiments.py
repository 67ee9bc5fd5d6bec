"""Analysis of experiments: click-through by variant, lift with its interval, sample ratio check.

An exposure records the variant that answered a request; impressions and clicks name their request.
So every event counts for the variant that really served it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import chisquare, norm

from vireo.ports import Ports
from vireo.training.data.window import EVENTS

#: p-value of a sample ratio mismatch (Fabijan et al., KDD 2019, use 0.0005 to 0.01).
MISMATCH = 0.001
_COLUMNS = ("event_id", "user_id", "video_id", "type", "timestamp", "request_id", "experiments")


@dataclass(frozen=True)
class Arm:
    """The results of one variant. Click-through counts each (request, video) pair once."""

    name: str
    viewers: int
    requests: int
    impressions: int
    clicks: int
    lift: float  #: of its click-through over the first variant's; NaN for the first
    low: float  #: 95% interval of the lift
    high: float

    @property
    def rate(self) -> float:
        """Clicks per impression."""
        return self.clicks / self.impressions if self.impressions else float("nan")


@dataclass(frozen=True)
class Trial:
    """The results of an experiment so far."""

    arms: tuple[Arm, ...]
    split: float  #: p-value of the split of viewers (chi-square test)
    mixed: int  #: viewers with more than one variant, who are left out

    @property
    def mismatch(self) -> bool:
        """True if the split of viewers is not by chance, so that the arms cannot be compared."""
        return self.split < MISMATCH


def read(ports: Ports, experiment: str, shares: Mapping[str, float]) -> Trial:
    """The results of an experiment from collected events.

    Args:
        ports: of the tenant.
        experiment: its name.
        shares: variants with their weights; the first one is the control.

    Raises:
        ValueError: nobody was exposed to it.
    """
    rows: list[dict[str, Any]] = []
    for name in ports.blobs.names(EVENTS):
        file = pq.ParquetFile(BytesIO(ports.blobs.read(name)))
        there = [c for c in _COLUMNS if c in file.schema_arrow.names]
        if "experiments" in there:  # imported files have no exposures
            rows += file.read(columns=there).to_pylist()
    return outcome(rows, experiment, shares)


def outcome(
    rows: Iterable[Mapping[str, Any]], experiment: str, shares: Mapping[str, float]
) -> Trial:
    """`read`, from rows in any order, with repeats."""
    once: dict[str, Mapping[str, Any]] = {
        row["event_id"]: row for row in rows if row.get("event_id")
    }
    variant_of: dict[str, str] = {}
    user_of: dict[str, str] = {}
    met: defaultdict[str, set[str]] = defaultdict(set)
    for row in once.values():
        variant = dict(row.get("experiments") or ()).get(experiment, "")
        if row["type"] == "exposure" and variant in shares:
            variant_of[row["request_id"]] = variant
            user_of[row["request_id"]] = row["user_id"]
            met[row["user_id"]].add(variant)
    if not met:
        raise ValueError(f"nobody was exposed to {experiment}")
    mixed = {user for user, variants in met.items() if len(variants) > 1}
    shown, clicked = _pairs(once.values(), user_of)
    arms = [
        _Sums.of(
            [r for r, v in variant_of.items() if v == name and user_of[r] not in mixed],
            user_of,
            shown,
            clicked & shown,  # without clicks whose impression was lost
        )
        for name in shares
    ]
    weights = np.array(list(shares.values()))
    viewers = np.array([len(arm.shown) for arm in arms])
    split = chisquare(viewers, viewers.sum() * weights / weights.sum()).pvalue
    return Trial(
        tuple(_arm(n, a, arms[0]) for n, a in zip(shares, arms, strict=True)),
        float(split),
        len(mixed),
    )


def _pairs(
    rows: Iterable[Mapping[str, Any]], user_of: Mapping[str, str]
) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """(request, video) pairs with an impression, and those with a click or a watch."""
    shown, clicked = set(), set()
    for row in rows:
        request = row.get("request_id")
        # A request belongs to one viewer; other viewers' events of it are ignored.
        if user_of.get(request or "") == row["user_id"]:
            pair = str(request), str(row.get("video_id"))
            if row["type"] == "impression":
                shown.add(pair)
            elif row["type"] in {"click", "watch"}:
                clicked.add(pair)
    return shown, clicked


@dataclass(frozen=True)
class _Sums:
    """Impressions and clicks by viewer, of one arm."""

    requests: int
    shown: Any
    clicked: Any

    @classmethod
    def of(
        cls,
        requests: list[str],
        user_of: Mapping[str, str],
        shown: set[tuple[str, str]],
        clicked: set[tuple[str, str]],
    ) -> _Sums:
        mine = set(requests)
        users = sorted({user_of[r] for r in requests})
        counts = [Counter(user_of[r] for r, _ in pairs if r in mine) for pairs in (shown, clicked)]
        by_user = [np.array([count[u] for u in users], float) for count in counts]
        return cls(len(requests), *by_user)

    @property
    def rate(self) -> float:
        return float(self.clicked.sum() / self.shown.sum()) if self.shown.sum() else float("nan")

    @property
    def variance(self) -> float:
        """The variance of the logarithm of the rate, with viewers as clusters (delta method)."""
        n = len(self.shown)
        if n < 2 or not self.clicked.sum():
            return float("nan")
        rest = self.clicked - self.rate * self.shown
        return float(n / (n - 1) * (rest**2).sum() / self.clicked.sum() ** 2)


def _arm(name: str, arm: _Sums, first: _Sums) -> Arm:
    lift = low = high = float("nan")
    if arm is not first and arm.rate > 0 and first.rate > 0:
        log_lift = float(np.log(arm.rate / first.rate))
        wide = float(norm.ppf(0.975) * np.sqrt(arm.variance + first.variance))
        lift, low, high = (float(np.expm1(log_lift + d)) for d in (0.0, -wide, wide))
    return Arm(
        name,
        len(arm.shown),
        arm.requests,
        int(arm.shown.sum()),
        int(arm.clicked.sum()),
        lift,
        low,
        high,
    )
