"""What was measured, as figures, targets and an aligned table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.bench.feedback import Feedback

Table = list[tuple[str, ...]]


@dataclass(frozen=True)
class Timing:
    """CPU milliseconds of one thing over many requests."""

    p50: float
    p99: float
    mean: float
    ratio: float  #: p50 to the floor's p50

    @property
    def spread(self) -> float:
        """p99 to p50."""
        return self.p99 / self.p50 if self.p50 else 0.0


@dataclass(frozen=True)
class Target:
    """A promise, and whether this run keeps it."""

    what: str
    measured: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side of its limit."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def timings(rounds: Sequence[Mapping[str, float]]) -> dict[str, Timing]:
    """Timings by name of what was measured in every round, in seconds."""
    floor = float(np.median([r["floor"] for r in rounds]))

    def timing(values: NDArray[np.float64]) -> Timing:
        p50, p99 = np.percentile(values, [50, 99]).tolist()
        return Timing(1e3 * p50, 1e3 * p99, 1e3 * float(values.mean()), p50 / floor)

    return {name: timing(np.array([r[name] for r in rounds])) for name in rounds[0]}


def targets(figures: Mapping[str, Any]) -> list[Target]:
    """The promises, held against the figures of the largest world."""
    size, found = max(figures["worlds"].items(), key=lambda world: int(world[0]))
    times, imports = found["timings"], figures["imports"]
    starting = imports["request path in AWS, with a cache"] + found["process"]["loaded"]
    cost = {past: c.microseconds for past, c in figures["feedback"].costs.items()}
    searches = [times[f"  search{way}"].p50 for way in ("", " unfiltered")]
    return [
        Target(f"whole handler at {size} videos, of the floor", times["handler"].ratio, 3.0),
        Target("whole handler, p99 of p50", times["handler"].spread, 3.0),
        Target("filtered search, of unfiltered", searches[0] / searches[1], 1.15),
        Target("recall of the filtered index at 300", found["recall"]["filtered"], 0.98, True),
        Target("import and load CPU as deployed, of numpy's", starting / imports["numpy"], 7.5),
        Target("an event after 1,000 others, of one after 1", cost[1_000] / cost[1], 1.15),
        Target("an event after 100,000 others, of one after 1", cost[100_000] / cost[1], 1.25),
    ]


def table(figures: Mapping[str, Any]) -> str:
    """All of it for people."""
    parts = [
        *(_world(int(n), found) for n, found in figures["worlds"].items()),
        ("A new process", _process(figures)),
        ("The consumer of events", _feedback(figures["feedback"])),
        ("Targets", _targets(figures["targets"])),
    ]
    return "\n\n".join(f"{title}\n{aligned(rows)}" for title, rows in parts)


def _world(n: int, found: Mapping[str, Any]) -> tuple[str, Table]:
    rows: Table = [("CPU ms", "p50", "p99", "p99/p50", "of the floor")]
    for name, t in found["timings"].items():
        rows.append((name, f"{t.p50:.3f}", f"{t.p99:.3f}", f"{t.spread:.2f}", f"{t.ratio:.2f}"))
    rows += [(name, f"{value:.4g}") for name, value in _summary(found)]
    return f"{n:,} videos", rows


def _summary(found: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    times = found["timings"]
    yield "filtered / unfiltered search", times["  search"].p50 / times["  search unfiltered"].p50
    ours = times["handler"].p50 - times["  search"].p50
    yield (
        "handler / floor, both without search",
        ours / (times["floor"].p50 - times["  bare FAISS search"].p50),
    )
    yield "trees / catboost.predict", times["  trees"].p50 / times["  bare catboost.predict"].p50
    for name, value in found["recall"].items():
        yield f"recall@300 {name}", value
    yield "requests a second and core", found["per second"]
    yield "load CPU, bundle fetched (s)", found["process"]["fetched"]
    yield "load CPU, bundle there (s)", found["process"]["loaded"]
    for name in ("rss", "own", "rss after", "own after"):
        yield f"memory {name} (MB)", found["process"][name] / 1e6
    for name, size in list(found["bytes"].items())[:6]:
        yield f"{name} (MB)", size / 1e6


def _process(figures: Mapping[str, Any]) -> Table:
    numpy = figures["imports"]["numpy"]
    loaded = [found["process"]["loaded"] for found in figures["worlds"].values()]
    loads = [f"and load {int(n):,}" for n in figures["worlds"]]
    rows: Table = [("import CPU", "ms", "of numpy's", *loads)]
    for name, spent in figures["imports"].items():
        with_loads = [f"{(spent + load) / numpy:.2f}" for load in loaded if name != "numpy"]
        rows.append((name, f"{1e3 * spent:.0f}", f"{spent / numpy:.2f}", *with_loads))
    return [*rows, ("serving layer, installed here (MB)", f"{figures['layer'] / 1e6:.0f}")]


def _feedback(found: Feedback) -> Table:
    rows: Table = [("events a second and core, store included", "")]
    rows += [(f"of {who}", f"{rate:,.0f}") for who, rate in found.per_second.items()]
    rows.append(("one event of a viewer who has had so many", "CPU µs", "record KB"))
    for past, cost in found.costs.items():
        rows.append((f"{past:,}", f"{cost.microseconds:.0f}", f"{cost.bytes / 1e3:.0f}"))
    return rows


def _targets(found: Sequence[Target]) -> Table:
    rows: Table = [("target", "measured", "limit", "")]
    for t in found:
        sign = "≥" if t.at_least else "≤"
        verdict = "met" if t.met else "MISSED"
        rows.append((t.what, f"{t.measured:.3g}", f"{sign} {t.limit:g}", verdict))
    return rows


def aligned(rows: Table) -> str:
    """Columns of equal width, numbers to the right."""
    widths = [max(len(r[j]) for r in rows if j < len(r)) for j in range(max(map(len, rows)))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if j == 0 else cell.rjust(width)
            for j, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    )
