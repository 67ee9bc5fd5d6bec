"""Reports an experiment: click-through by variant, lift with its interval, and the sample ratio.

Experiments are rows of the settings (`scripts/controls.py` writes one). Every answer of the API
names the request's variants, and exposures are collected with the events.
"""

from __future__ import annotations

import argparse

from vireo.homes.chosen import add_options, chosen
from vireo.ports import Ports, Table
from vireo.recommender.steering.experiments import Experiment
from vireo.training.judging.experiments import Trial, read


def main(arguments: list[str] | None = None) -> None:
    """Report an experiment."""
    options = _options(arguments)
    try:
        with chosen(options) as home:
            print(told(report(home.open(options.tenant), options.name)))
    except (ValueError, LookupError) as error:
        raise SystemExit(str(error)) from None


def report(ports: Ports, name: str) -> Trial:
    """The results so far. Raises LookupError if it is unknown, ValueError without exposures."""
    found = ports.records.get(Table.SETTINGS, "experiments", name)
    if found is None:
        raise LookupError(f"there is no experiment {name}")
    experiment = Experiment.model_validate(found.item)
    return read(ports, name, {v.name: v.weight for v in experiment.variants})


def told(trial: Trial) -> str:
    """The results as text."""
    lines = ["variant           viewers  requests  impressions   clicks  click-through  lift"]
    for arm in trial.arms:
        lift = "" if arm.lift != arm.lift else f"{arm.lift:+.1%} [{arm.low:+.1%}, {arm.high:+.1%}]"
        lines.append(
            f"{arm.name:<16}{arm.viewers:>9,}{arm.requests:>10,}{arm.impressions:>13,}"
            f"{arm.clicks:>9,}{arm.rate:>14.2%}   {lift}".rstrip()
        )
    verdict = "as the weights say" if not trial.mismatch else "NOT as the weights say: no verdict"
    lines.append(f"viewers are split {verdict} (p = {trial.split:.2g})")
    if trial.mixed:
        lines.append(f"{trial.mixed:,} viewers met several variants and were left out")
    return "\n".join(lines)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="name of the experiment")
    add_options(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
