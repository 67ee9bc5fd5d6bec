"""Whether lists become better when what is learned from has propensity weights: on viewers whose
tastes are known.

``python -m tests.bench.places``: for every way of ordering lists and every loss of attention, two
models are trained on the same clicks, one of which is not told their places, and judged by the
clicks to be expected on their lists. About five minutes of one core.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from tests.biased import SHOWN, Biased, Policy, collected
from vireo.training.data.prepared import Prepared
from vireo.training.models.recipe import RecipeConfig, train
from vireo.training.models.replay import Replay

#: Less than by default, as logs are small.
CONFIG = RecipeConfig.of({"requests": 200, "tower": {"epochs": 8}})


def main() -> None:
    """Compare, and print a row of a table for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=100, help="seed")
    parser.add_argument("--bias", type=float, nargs="+", default=[1.0])
    parser.add_argument("--policy", nargs="+", choices=get_args(Policy), default=get_args(Policy))
    options = parser.parse_args()
    print(
        "| lists ordered by | attention | raw | weighted | difference | better in |\n" + "|---" * 6
    )
    for policy in options.policy:
        for bias in options.bias:
            seeds = range(options.first, options.first + options.seeds)
            found = np.array([compared(collected(s, policy, bias), s) for s in seeds])
            print(row(policy, bias, found), flush=True)


def compared(world: Biased, seed: int) -> tuple[float, float]:
    """Clicks to be expected on a list: of a model that is not told of places, and of one that is.

    Click rates as features are corrected in both: what is compared is what learning makes of it.
    """
    log = world.prepared.log
    untold = replace(log, place=np.full(len(log), -1, np.int32))
    return (
        trained(world, replace(world.prepared, log=untold), seed),
        trained(world, world.prepared, seed),
    )


def trained(world: Biased, prepared: Prepared, seed: int) -> float:
    """Mean clicks to be expected on lists of a model trained on ``prepared``."""
    bundle, *_ = train(prepared.log, prepared.activity, CONFIG, version="places", seed=seed)
    replay = Replay(bundle, prepared.log, prepared.activity)
    return float(world.clicks(replay.lists(world.asked(), "ranked", SHOWN)).mean())


def row(policy: str, bias: float, found: NDArray[np.float64]) -> str:
    """Means over seeds, and their paired difference with a 95% interval of Student's t."""
    raw, weighted = found.T
    gain = weighted - raw
    half = t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    return (
        f"| {policy} | (1 + p)^-{bias:g} | {raw.mean():.3f} | {weighted.mean():.3f} "
        f"| {gain.mean():+.3f} ± {half:.3f} ({gain.mean() / raw.mean():+.0%}) "
        f"| {(gain > 0).sum()} of {len(gain)} |"
    )


if __name__ == "__main__":
    main()
