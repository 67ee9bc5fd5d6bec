#!/usr/bin/env python3
"""Train on the past of your own logs, answer requests about the later events, and print metrics.

    scripts/backtest.py --data DIR --split successive --out backtest.json

The table shows our stages (retrieval alone; all ranked candidates before ordering rules; the list
that is served) beside popularity, ItemKNN, EASE, a decayed Markov chain and session openers, all
fitted on the same events, with intervals of the differences to popularity, EASE and the strongest
of them. A second table measures the served lists of 20, and what ordering costs. Splits:

temporal        at one moment, each viewer is asked about everything after it (the first half of
                the later events is for tuning, the second for testing)
successive      every event of the test period is predicted from all of its viewer's earlier ones
leave-one-out   the last event of every viewer is predicted
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from vireo.bundles import files as bundles
from vireo.bundles.manifest import MANIFEST
from vireo.homes.chosen import json_file
from vireo.jobs.lines import DatasetError
from vireo.jobs.terminal import Terminal
from vireo.recommender.contents import ModelBundle
from vireo.recommender.pauses import PAUSE_NAMES
from vireo.recommender.steering.controls import Controls
from vireo.recommender.steering.tuning import Tuning
from vireo.training.data import preprocess, requests
from vireo.training.data.activity import Activity
from vireo.training.data.log import Log
from vireo.training.data.metrics import FINE
from vireo.training.data.prepared import Prepared
from vireo.training.judging import baselines
from vireo.training.judging.backtest import (
    KS,
    REFERENCES,
    Comparison,
    Evaluation,
    StageSystem,
    System,
    evaluate,
    fitted_baselines,
    list_lines,
    together,
)
from vireo.training.judging.report import LISTS, change
from vireo.training.judging.served import measure
from vireo.training.models import recipe
from vireo.training.models.replay import Replay, Stage

#: Stages of our model that can be evaluated, and their names in tables.
STAGES: dict[Stage, str] = {
    "ranked": "Ranked candidates",
    "unranked": "Without the ranker",
    "retrieval": "Retrieval alone",
    "final": "Served list",
}


def main(arguments: list[str] | None = None) -> None:
    """Read the data; for every cut and seed split, fit, evaluate and print; write the results."""
    options = _options(arguments)
    try:
        prepared = preprocess.read(options.data, now=time.time())
    except DatasetError as error:
        raise SystemExit(str(error)) from None
    log = prepared.log
    _say(f"{options.data}: {len(log):,} events, {log.n_users:,} viewers, {log.n_videos:,} videos")
    evaluations = []
    runs = list(product(options.cuts, options.seeds))
    for cut, seed in runs:
        one = argparse.Namespace(**vars(options), cut=cut, seed=seed)
        evaluations.append(_evaluation(prepared, one))
        sys.stdout.write(table(evaluations[-1].as_dict()))
    pooled = together(evaluations) if len(runs) > 1 else []
    sys.stdout.write("\n".join(_differences([c.as_dict() for c in pooled], "all runs together")))
    if options.out:
        _write_json(options.out, runs, evaluations, pooled, options)
    if options.lists:
        for path, lines in list_files(options.lists, evaluations[0], log):
            path.write_text("".join(f"{line}\n" for line in lines))


def _evaluation(prepared: Prepared, options: argparse.Namespace) -> Evaluation:
    """The evaluation of all systems, for one cut and one seed."""
    split = split_of(prepared.log, options)
    _say(
        f"{options.split}, cut {options.cut}, seed {options.seed}: "
        f"{int(split.fit.sum()):,} events to learn from, {len(split.test):,} requests"
    )
    stages: list[Stage] = list(STAGES) if options.stage == "all" else [options.stage]
    systems: list[System] = []
    if "ours" in options.systems:
        systems += _ours(prepared, split, stages, options)
    names = [name for name in baselines.GRID if name in options.systems]
    systems += fitted_baselines(
        prepared.log, split, names=names, tune=not options.untuned, progress=_progress
    )
    references = (*REFERENCES, STAGES["unranked"])
    return evaluate(
        systems, split, prepared.log, references=references, seed=options.seed, progress=_progress
    )


def split_of(log: Log, options: argparse.Namespace) -> requests.Split:
    """The split that the options choose."""
    if options.split == "temporal":
        return requests.temporal(log, options.cut)
    if options.split == "successive":
        cap = options.cap or None
        return requests.successive(log, options.cut, cap=cap, seed=options.sample_seed)
    return requests.leave_one_out(log)


def _ours(
    prepared: Prepared, split: requests.Split, stages: Iterable[Stage], options: argparse.Namespace
) -> list[System]:
    """Our own model, trained only on the events before the test."""
    log = prepared.log
    # leave-one-out tests events of all times, which counts of activity would reveal
    held_back = split.protocol == "leave-one-out"
    activity = None if held_back else prepared.activity
    begin = float(log.time[~split.fit][0])
    overrides = options.settings or {}
    started, terminal = time.process_time(), Terminal()
    learnt = log.take(split.fit)
    kept = options.bundles / _version(learnt, overrides, options.seed) if options.bundles else None
    if kept is not None and (kept / MANIFEST).exists():
        bundle = bundles.load(kept, ModelBundle)
    else:
        bundle, _, _ = recipe.train(
            learnt,
            None if activity is None else _before(activity, begin),
            recipe.RecipeConfig.of(overrides),
            version="backtest" if kept is None else kept.name,
            seed=options.seed,
            progress=terminal.task("training"),
        )
        _say(f"trained in {time.process_time() - started:,.0f} CPU seconds")
        if kept is not None:
            bundles.write(bundle, kept)
    replay = Replay(bundle, log, activity)
    ours: list[System] = [StageSystem(STAGES[s], s, replay) for s in stages if s != "final"]
    if "final" in stages:
        tuning = Tuning.model_validate(options.tuning or {})
        names = (STAGES["ranked"], STAGES["final"])
        ours.append(
            measure(
                replay,
                split.test,
                controls=Controls(tuning),
                names=names,
                seed=options.seed,
                progress=terminal.task("served lists"),
            )
        )
    return ours


def _version(learnt: Log, overrides: Any, seed: int) -> str:
    """A name made of the training data and settings, so that no other bundle is used."""
    digest = hashlib.blake2b(orjson.dumps([overrides, seed]), digest_size=8)
    for array in (learnt.user, learnt.video, learnt.time, learnt.videos.keys):
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"backtest-{digest.hexdigest()}"


def _before(activity: Activity, moment: float) -> Activity:
    """The activity before ``moment`` (unix seconds)."""
    past = int(np.searchsorted(activity.time, moment))
    columns = ("user", "video", "type", "time", "seconds", "fraction")
    return replace(activity, **{name: getattr(activity, name)[:past] for name in columns})


def table(figures: dict[str, Any]) -> str:
    """An evaluation as aligned text."""
    metrics = [f"{m}@{k}" for m in ("recall", "hit") for k in KS] + ["ndcg@10"]
    width = max(18, *(len(s["name"]) for s in figures["systems"]))
    lines = [
        "",
        f"{'system':{width}} "
        + " ".join(f"{m:>10}" for m in [*metrics, *(f"cov@{k}" for k in KS)]),
    ]
    for system in figures["systems"]:
        values = [system["by_pause"]["all"].get(m) for m in metrics]
        values += [system["coverage"].get(f"@{k}") for k in KS]
        lines.append(f"{system['name']:{width}} " + " ".join(map(_cell, values)))
    for metric in ("hit@10", "hit@100", "ndcg@10"):
        lines += ["", *_by_pause(figures, metric, width)]
    if figures["strongest"]:
        lines += ["", f"the strongest baseline by ndcg@10: {figures['strongest']}"]
    lines += _differences(figures["differences"], "in the JSON: of all systems, by pause")
    if figures["served"]:
        lines += [*_as_served(figures["served"], width), ""]
    return "\n".join(lines)


def _as_served(served: dict[str, Any], width: int) -> list[str]:
    """The served lists beside the best of their candidates, and what each rule costs."""
    kinds = served["lists"]
    lines = [
        f"as served, in lists of {served['places']}: {served['requests']:,} requests of "
        f"{served['viewers']:,} viewers",
        *served["notes"],
        f"{'':{width}} " + " ".join(f"{kind['name']:>18}" for kind in kinds),
    ]
    for name in LISTS:
        lines += [f"{name:{width}} " + " ".join(f"{kind[name]:18.4f}" for kind in kinds)]
    lines += ["", "what ordering costs, relative, with 95% intervals over viewers"]
    for cost in served["costs"]:
        lines += [f"{cost['rule']:{width}} {cost['metric']:>8} {change(cost)}"]
    return lines


def _differences(differences: Sequence[dict[str, Any]], note: str) -> list[str]:
    """Ours minus the references: by pause for the first system, in total for the others."""
    if not differences:
        return [""]
    found = {(d["system"], d["reference"], d["pause"], d["metric"]): d for d in differences}
    metrics = list(dict.fromkeys(key[3] for key in found))
    first = differences[0]["system"]
    width = max(18, *(len(d["system"]) for d in differences))
    lines = [
        "",
        f"differences with 95% intervals over viewers ({note})",
        f"{'system':{width}}   {'minus':18} {'pause':10} {'viewers':>7} "
        + " ".join(f"{m:>27}" for m in metrics),
    ]
    for system, reference, pause in dict.fromkeys(key[:3] for key in found):
        if system == first or pause == "all":
            cells = [found.get((system, reference, pause, m)) for m in metrics]
            viewers = next(c["viewers"] for c in cells if c)
            lines.append(
                f"{system:{width}} - {reference:18} {pause:10} {viewers:7,} "
                + " ".join(f"{_interval(c):>27}" for c in cells)
            )
    return [*lines, ""]


def _cell(value: float | None) -> str:
    return f"{'–':>10}" if value is None else f"{value:10.4f}"


def _interval(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    if found["viewers"] < 2:
        return f"{found['mean']:+.4f}"
    return f"{found['mean']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"


def _by_pause(figures: dict[str, Any], metric: str, width: int) -> list[str]:
    """One metric, with a column for each length of the pause before the request."""
    asked = figures["systems"][0]["by_pause"]
    pauses = [p for p in dict.fromkeys(("all", *FINE, *PAUSE_NAMES)) if p in asked]
    counts = " ".join(f"{int(asked[p]['requests']):10,}" for p in pauses)
    lines = [
        f"{metric + ' after a pause':{width}} " + " ".join(f"{p:>10}" for p in pauses),
        f"{'requests':{width}} {counts}",
    ]
    for system in figures["systems"]:
        if metric in system["by_pause"]["all"]:
            values = " ".join(_cell(system["by_pause"][p][metric]) for p in pauses)
            lines.append(f"{system['name']:{width}} {values}")
    return lines


def list_files(
    path: Path, evaluation: Evaluation, log: Log
) -> Iterable[tuple[Path, Iterable[str]]]:
    """``path`` for the first system of the table; for others, with their name before the suffix."""
    for j, answers in enumerate(evaluation.answers):
        slug = "-".join(answers.name.lower().replace("+", " ").split())
        target = path if j == 0 else path.with_name(f"{path.stem}.{slug}{path.suffix}")
        yield target, list_lines(answers, evaluation, log)


def _write_json(
    path: Path,
    runs: Sequence[tuple[float, int]],
    evaluations: Sequence[Evaluation],
    pooled: Sequence[Comparison],
    options: argparse.Namespace,
) -> None:
    asked = ("split", "cap", "sample_seed", "stage", "untuned")
    document = {
        "options": {k: getattr(options, k) for k in asked},
        "runs": [
            {"cut": cut, "seed": seed, **evaluation.as_dict()}
            for (cut, seed), evaluation in zip(runs, evaluations, strict=True)
        ],
        "together": [c.as_dict() for c in pooled],
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _progress(share: float | None, what: str) -> None:
    _say(what)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--split", choices=("temporal", "successive", "leave-one-out"), default="temporal"
    )
    parser.add_argument(
        "--cut",
        type=float,
        nargs="+",
        default=[0.8],
        dest="cuts",
        help="share of the events to train on; with several, one run each, and all together",
    )
    parser.add_argument(
        "--seed",
        type=int,
        nargs="+",
        default=[1],
        dest="seeds",
        help="of training and of the intervals; with several, one run each",
    )
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all")
    parser.add_argument(
        "--settings",
        type=json_file,
        metavar="FILE",
        help="JSON that overrides the recipe's defaults",
    )
    parser.add_argument(
        "--tuning",
        type=json_file,
        metavar="FILE",
        help="JSON of the tuning to serve with, as scripts/controls.py takes it",
    )
    parser.add_argument(
        "--bundles",
        type=Path,
        metavar="DIR",
        help="keep trained bundles there, and reuse them for the same data and settings (clear the "
        "folder when the code has changed)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="figures as JSON")
    parser.add_argument("--lists", type=Path, metavar="FILE", help="top-100 lists as text")
    parser.add_argument(
        "--systems",
        type=lambda text: text.split(","),
        default=["ours", *baselines.GRID],
        help="comma list of: ours, " + ", ".join(baselines.GRID),
    )
    parser.add_argument(
        "--cap", type=int, default=20, help="successive: maximum requests of a viewer, 0 for all"
    )
    parser.add_argument("--sample-seed", type=int, default=0, help="successive: seed of the sample")
    parser.add_argument(
        "--untuned", action="store_true", help="do not choose the baselines' settings on validation"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.systems) - {"ours", *baselines.GRID}:
        parser.error(f"unknown systems: {', '.join(sorted(unknown))}")
    several = len(options.cuts) * len(options.seeds) > 1
    if several and options.lists:
        parser.error("--lists is for one cut and one seed")
    if len(options.cuts) > 1 and options.split == "leave-one-out":
        parser.error("--split leave-one-out has no cut")
    return options


if __name__ == "__main__":
    main()
