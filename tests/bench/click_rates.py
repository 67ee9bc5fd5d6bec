"""Whether click rates come nearer to the merit of videos by the propensities of impressions.

``python -m tests.bench.click_rates`` prints the table of docs/events.md: rank correlations with how
often those who look at a video click it, of generated viewers. Half a minute of one core.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr, t

from tests.feeds import Feed, feed, of
from vireo.recommender.counted import click_rate
from vireo.training.data.activity import counters
from vireo.training.data.places import propensities

WAYS = ("raw", "place alone", "taste alone", "both", "newer than the bundle")


def main() -> None:
    """Print a row for each way of ordering lists."""
    print(f"| lists ordered by | {' | '.join(WAYS)} | both − raw | both − taste alone |")
    print("|---" * (len(WAYS) + 3) + "|")
    for personal in (False, True):
        found = np.array([correlations(feed(seed, personal=personal)) for seed in range(100, 116)])
        ways = dict(zip(WAYS, found.T, strict=True))
        cells = [f"{values.mean():.3f}" for values in ways.values()]
        cells += [gain(ways["both"] - ways[other]) for other in ("raw", "taste alone")]
        print(f"| {'score and taste' if personal else 'a made-up score'} | {' | '.join(cells)} |")


def correlations(made: Feed) -> list[float]:
    """In the order of `WAYS`."""
    activity, counts = made.activity, counters(made.activity, 1e18)
    shown, clicked = (of(activity, name, made.kinds) for name in ("impression", "click"))
    tasteless = (replace(rows, taste=np.zeros_like(rows.taste)) for rows in (shown, clicked))
    _, alone = propensities(*tasteless)
    _, theta = propensities(shown, clicked)
    overall = counts.clicks.sum() / counts.impressions.sum()

    def by_place(attention: NDArray[np.float64]) -> NDArray[np.float64]:
        examined = np.bincount(shown.video, attention[shown.at], activity.n_videos).astype(float)
        return click_rate(counts.clicks.astype(float), examined, overall)

    unplaced = replace(activity, place=np.full(len(activity), -1, np.int32))
    rates = (
        made.raw(),
        by_place(alone),
        made.rates(unplaced),
        made.rates(activity),
        by_place(theta),
    )
    seen = counts.impressions > 0
    return [float(spearmanr(r[seen], made.merit[seen]).statistic) for r in rates]


def gain(of_seeds: NDArray[np.float64]) -> str:
    """Mean over seeds with its 95% interval."""
    half = t.ppf(0.975, len(of_seeds) - 1) * of_seeds.std(ddof=1) / np.sqrt(len(of_seeds))
    return f"{of_seeds.mean():+.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
