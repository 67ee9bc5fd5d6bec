"""Evaluation of the challenger on held-out events, with baselines and production's model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vireo.jobs import artifacts
from vireo.jobs.progress import Progress, within
from vireo.ports import Blobs
from vireo.recommender.contents import ModelBundle
from vireo.recommender.steering.controls import Controls
from vireo.training.data import metrics
from vireo.training.data import requests as protocols
from vireo.training.data.log import Log
from vireo.training.data.prepared import Prepared
from vireo.training.data.requests import Requests, Split
from vireo.training.judging import report, served
from vireo.training.judging.backtest import Evaluation, StageSystem, System, fitted_baselines
from vireo.training.judging.backtest import evaluate as side_by_side
from vireo.training.judging.duel import duel
from vireo.training.judging.gates import (
    Champion,
    Contest,
    Evidence,
    Thresholds,
    Verdict,
    accepted,
    judge,
)
from vireo.training.models import ranker as ranking
from vireo.training.models import recipe
from vireo.training.models.assembly import Fitted, assemble
from vireo.training.models.ranker import Ranker
from vireo.training.models.recipe import RecipeConfig
from vireo.training.models.replay import Replay
from vireo.training.run import Run

OURS = "Vireo"
RETRIEVAL = "Vireo, retrieval alone"
BLENDED = "Vireo, without the ranker"
SERVED = "Vireo, served list"
#: Maximum number of requests per protocol, drawn with the run's seed.
MOST_REQUESTS = 1500
#: The usual cut of a log (`protocols.boundaries`): the test period is its last tenth.
CUT = 0.8
#: Key in a manifest's config: unix seconds of the latest event in a bundle.
LAST_EVENT = "last_event"


@dataclass(frozen=True)
class Challenger:
    """The models made by the parallel steps."""

    config: RecipeConfig
    fitted: Fitted
    params: Mapping[str, NDArray[Any]]  #: of the towers, to continue from
    losses: tuple[float, ...]
    ranker: Ranker

    @classmethod
    def load(cls, run: Run, blobs: Blobs, config: RecipeConfig) -> Self:
        """The models in the artifacts of a run."""
        arrays, towers = artifacts.load(blobs, run.artifacts["retrieval"])
        return cls(
            config=config,
            fitted=recipe.fitted_of(arrays),
            params=artifacts.group(arrays, "params"),
            losses=tuple(towers["losses"]),
            ranker=ranking.of_artifact(*artifacts.load(blobs, run.artifacts["ranker"])),
        )

    def bundle(self, run: Run, prepared: Prepared) -> ModelBundle:
        """The bundle that would have served at the beginning of the test period."""
        test = period_begins(run, prepared.log)
        return assemble(
            prepared.log.until(test),
            prepared.activity,
            self.fitted,
            version=run.run_id,
            now=float(prepared.log.time[test]),
            retrieval=self.config.sources(prepared.log),
            extra=recipe.ranker_arrays(self.ranker),
        )


@dataclass(frozen=True)
class Outcome:
    """The result of an evaluation, for the run document and the report."""

    accepted: bool
    reasons: tuple[str, ...]  #: reasons of a refusal
    left_out: tuple[str, ...]  #: comparisons with production that were impossible, and why
    metrics: Mapping[str, Any]
    html: str
    document: bytes


def cut_of(log: Log, champion: ModelBundle | None, least_share: float) -> float:
    """The cut of a log that allows a comparison with production's model.

    The test period should begin after the last event that production's model has seen, so that both
    models know the same past. The usual cut is returned if less than ``least_share`` of the events
    came after that, or if production's model has seen nothing of the last tenth.
    """
    if champion is None:
        return CUT
    _, usual = protocols.boundaries(log, CUT)
    begin = int(np.searchsorted(log.time, seen_until(champion), side="right"))
    if begin <= usual or len(log) - begin < max(2, least_share * len(log)):
        return CUT
    return (2 * begin + 1) / len(log) - 1  # the test begins half way between it and the end


def period_begins(run: Run, log: Log) -> int:
    """The position in the log at which the run's test period begins."""
    return protocols.boundaries(log, run.cut or CUT)[1]


def seen_until(bundle: ModelBundle) -> float:
    """Unix seconds after which a bundle contains no event; clients' clocks may be fast."""
    manifest = bundle.manifest
    return max(manifest.watermark, float(manifest.config.get(LAST_EVENT, -np.inf)))


def evaluate(
    run: Run,
    prepared: Prepared,
    challenger: Challenger,
    champion: ModelBundle | None,
    progress: Progress,
    *,
    controls: Controls | None = None,
) -> Outcome:
    """Evaluate all systems on the same requests, and let the gates decide.

    Models are judged by their ranked candidates under the default tuning; the served list is made
    and measured under ``controls``, those in force, which may serve something else altogether.
    """
    log, thresholds = prepared.log, Thresholds.model_validate(run.gates)
    replay = Replay(challenger.bundle(run, prepared), log, prepared.activity)
    splits = [
        _sampled(protocols.temporal(log, run.cut or CUT), run.seed),
        _sampled(protocols.successive(log, run.cut or CUT, seed=run.seed), run.seed),
    ]
    rivals = fitted_baselines(log, splits[0], tune=False, progress=within(progress, 0.0, 0.2))
    ours = [
        StageSystem(OURS, "ranked", replay),
        StageSystem(BLENDED, "unranked", replay),
        StageSystem(RETRIEVAL, "retrieval", replay),
    ]
    reigning = None
    if champion is not None and seen_until(champion) < log.time[period_begins(run, log)]:
        reigning = Replay(champion, log, prepared.activity)
    evaluations, contests = [], []
    for j, split in enumerate(splits):
        told = within(progress, 0.2 + 0.4 * j, 0.6 + 0.4 * j, f"{split.protocol}: ")
        listed = served.measure(
            replay,
            split.test,
            controls=controls,
            names=(OURS, SERVED),
            seed=run.seed,
            progress=within(told, 0.0, 0.5),
        )
        told = within(told, 0.5, 1.0)
        systems: list[System] = [*ours, listed, *rivals]
        if reigning is not None:
            systems.append(StageSystem(champion_name(reigning.bundle), "ranked", reigning))
        found = side_by_side(systems, split, log, seed=run.seed, progress=told)
        evaluations.append(found)
        met = None if champion is None else _met(champion, found, prepared, run, reigning)
        contests.append(_contest(found, [r.name for r in rivals], met))
    evidence = _evidence(period_begins(run, log), splits[0].test, replay, evaluations[0], contests)
    verdicts = judge(evidence, thresholds)
    contents = report.Contents(
        title=f"Training run {run.run_id}",
        run={
            "run": run.run_id,
            "tenant": run.tenant,
            "trigger": run.trigger,
            "seed": run.seed,
            "in production": champion.version if champion is not None else "none",
        },
        ours=OURS,
        verdicts=verdicts,
        evaluations=[e.as_dict() for e in evaluations],
        data=asdict(prepared.report),
        losses={"two-tower": {"training loss": challenger.losses}},
        importance=challenger.ranker.importance,
        config=asdict(challenger.config),
    )
    return Outcome(
        accepted=accepted(verdicts),
        reasons=_told(v for v in verdicts if not v.passed),
        left_out=_told(v for v in verdicts if v.left_out),
        metrics={e.protocol: _figures(e) for e in evaluations}
        | {"served": {e.protocol: _served(e) for e in evaluations}},
        html=report.render(contents),
        document=report.document(contents),
    )


def champion_name(champion: ModelBundle) -> str:
    """The name of production's model in tables."""
    return f"in production ({champion.version})"


def _told(verdicts: Iterable[Verdict]) -> tuple[str, ...]:
    return tuple(f"{v.gate}: {v.why}" for v in verdicts)


def _sampled(split: Split, seed: int) -> Split:
    return replace(split, test=split.test.sample(MOST_REQUESTS, seed))


def _met(
    champion: ModelBundle, found: Evaluation, prepared: Prepared, run: Run, reigning: Replay | None
) -> Champion:
    fought = None
    if reigning is not None:
        ours, theirs = found[OURS].lists, found[champion_name(champion)].lists
        since = float(prepared.log.time[period_begins(run, prepared.log)])
        fought = duel(ours, theirs, found.requests, prepared.activity, since)
    return Champion(champion.version, seen_until(champion), fought)


def _contest(found: Evaluation, rivals: list[str], champion: Champion | None) -> Contest:
    return Contest(
        protocol=found.protocol,
        requests=found.requests,
        values=found[OURS].values,
        baselines={name: found[name].values for name in rivals},
        champion=champion,
        served=found.served,
    )


def _evidence(
    learnt: int,
    requests: Requests,
    replay: Replay,
    found: Evaluation,
    contests: list[Contest],
) -> Evidence:
    """The evidence for the absolute gates: the candidate sets of one protocol's requests."""
    retrieved, _ = replay.candidates(requests, "retrieval")
    ranked, scores = replay.candidates(requests, "ranked")
    return Evidence(
        n_events=learnt,
        n_videos=replay.log.n_videos,
        requests=requests,
        retrieval_recall=found[RETRIEVAL].values["recall@100"],
        retrieval_ndcg=metrics.candidate_ndcg(retrieved, requests),
        ranker_auc=metrics.auc(scores, metrics.hits(ranked, requests)),
        ranker_ndcg=metrics.candidate_ndcg(ranked, requests),
        contests=contests,
    )


def _served(found: Evaluation) -> dict[str, Any]:
    """The served list's figures and costs, for the run document."""
    if found.served is None or not len(found.requests):
        return {}
    costs = {
        f"{cost.rule}: {cost.metric}": _rounded(asdict(cost.interval))
        for cost in found.served.costs()
        if cost.interval is not None
    }
    return {**_rounded(found.served.figures(found.served.listed)), "costs": costs}


def _rounded(figures: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among figures that a record can hold."""
    return {n: round(v, 4) for n, v in figures.items() if n != "name" and np.isfinite(v)}


def _figures(found: Evaluation) -> dict[str, dict[str, float]]:
    """The means of every system, for the run document."""
    return {
        answers.name: {
            name: round(float(np.nanmean(values)), 4) for name, values in answers.values.items()
        }
        for answers in found.answers
        if len(found.requests)
    }
