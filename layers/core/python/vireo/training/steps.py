"""The steps of ``statemachines/training.asl.json``; `vireo.jobs.steps` runs them."""

from __future__ import annotations

from dataclasses import asdict

import orjson

from vireo.bundles.pointer import current
from vireo.catalogue import updates
from vireo.jobs import artifacts
from vireo.jobs.progress import Progress, within
from vireo.jobs.steps import Machine
from vireo.ports import Missing, Ports, Withdrawn
from vireo.recommender.steering import controls
from vireo.training import deployment, generator
from vireo.training.data.activity import with_propensity_weights
from vireo.training.data.collected import into_home, read_home
from vireo.training.data.log import Log
from vireo.training.data.prepared import Prepared, load_prepared, save_prepared
from vireo.training.data.purge import purge
from vireo.training.data.window import EVENTS, Limits
from vireo.training.judging import evaluation
from vireo.training.judging.gates import Thresholds
from vireo.training.models import ranker as ranking
from vireo.training.models import recipe
from vireo.training.run import Decision, Run


def preprocess(run: Run, ports: Ports, progress: Progress) -> Run:
    """Turn collected events, catalogue and viewers into the arrays that models learn from.

    If nothing was collected, data are generated and stored first, so that a fresh environment has
    something to serve. Events of erased people are removed from the files first. The beginning of
    the test period is chosen here, because all later steps must agree on it.
    """
    if next(iter(ports.blobs.names(EVENTS)), None) is None:
        progress(0.0, "no events yet: generating some")
        into_home(
            generator.generate(generator.Settings(seed=run.seed, end=_midnight(ports))), ports
        )
    purge(ports)
    config = recipe.RecipeConfig.of(run.config)
    read_at, changes = ports.clock.now(), updates.latest(ports.records)
    limits = Limits(events=config.events, days=config.days)
    prepared = read_home(ports, limits=limits, progress=within(progress, 0.3, 0.8))
    ports.meter.observe("TrainingDays", prepared.report.days, "Count")
    ports.meter.observe("TrainingViewers", 100 / prepared.report.one_in, "Percent")
    save_prepared(ports.blobs, run.prefix("prepared"), prepared)
    least = Thresholds.model_validate(run.gates).least_share_since
    cut = evaluation.cut_of(prepared.log, deployment.in_production(ports), least)
    progress(1.0, f"{len(prepared.log):,} interactions")
    done = run.with_artifact("prepared").model_copy(update={"cut": cut})
    return done.with_metrics(
        data=asdict(prepared.report), catalogue_read_at=read_at, changes=list(changes)
    )


def two_tower(run: Run, ports: Ports, progress: Progress) -> Run:
    """Fit the retrieval models on everything before the test period."""
    prepared, config = _prepared(run, ports), recipe.RecipeConfig.of(run.config)
    learnt = _learnt(run, prepared.log)
    learnt = with_propensity_weights(learnt, prepared.activity, recipe.moment_after(learnt))
    fitted, towers = recipe.fit_retrieval(learnt, config, seed=run.seed, progress=progress)
    artifacts.save(
        ports.blobs,
        run.prefix("retrieval"),
        {
            **{f"params/{name}": array for name, array in towers.params.items()},
            **recipe.arrays_of(fitted),
        },
        {"losses": towers.losses, "epochs": towers.epochs},
    )
    return run.with_artifact("retrieval")


def ranker(run: Run, ports: Ports, progress: Progress) -> Run:
    """Fit the ranker and the blends, on windows that roll over all but the test period."""
    prepared, config = _prepared(run, ports), recipe.RecipeConfig.of(run.config)
    learnt = _learnt(run, prepared.log)
    fitted = recipe.fit_ranker(learnt, prepared.activity, config, seed=run.seed, progress=progress)
    arrays, document = ranking.as_artifact(fitted)
    artifacts.save(ports.blobs, run.prefix("ranker"), arrays, document)
    return run.with_artifact("ranker").with_metrics(trees=fitted.trees)


def evaluate(run: Run, ports: Ports, progress: Progress) -> Run:
    """Evaluate the models on the test period, with baselines and production's model, and decide."""
    prepared, config = _prepared(run, ports), recipe.RecipeConfig.of(run.config)
    outcome = evaluation.evaluate(
        run,
        prepared,
        evaluation.Challenger.load(run, ports.blobs, config),
        deployment.in_production(ports),
        progress,
        controls=controls.read(ports.records),
    )
    report = run.prefix("report")
    ports.blobs.write(f"{report}/report.html", outcome.html.encode())
    ports.blobs.write(f"{report}/report.json", outcome.document)
    decision = Decision(deploy=outcome.accepted, reasons=outcome.reasons, left_out=outcome.left_out)
    deployment.record(run, ports, decision)
    return (
        run.with_artifact("report")
        .with_metrics(**outcome.metrics)
        .model_copy(update={"decision": decision})
    )


def deploy(run: Run, ports: Ports, progress: Progress) -> Run:
    """Refit the models on the latest events, publish the bundle, check it, and make it serve."""
    seen = current(ports.records)
    if seen is not None and seen.version == run.run_id:
        return run.model_copy(update={"version": run.run_id})
    prepared, config = _prepared(run, ports), recipe.RecipeConfig.of(run.config)
    challenger = evaluation.Challenger.load(run, ports.blobs, config)
    bundle = deployment.build(run, prepared, challenger, now=ports.clock.now(), progress=progress)
    deployment.publish(run, bundle, challenger, prepared, ports, expect=seen)
    return run.model_copy(update={"version": bundle.version})


def release(run: Run, ports: Ports, progress: Progress) -> Run:
    """Release the published bundle, where releases go by steps; repeated until it is finished."""
    if run.version is None:
        raise Missing("there is no bundle to release")
    try:
        if run.release is None:
            begun = ports.releases.begin(run.version)
            return run.model_copy(update={"release": begun, "released": begun is None})
        done = ports.releases.finished(run.release)
    except Withdrawn:
        deployment.withdraw(run.version, ports)
        raise
    return run.model_copy(update={"released": done})


def notify(run: Run, ports: Ports, progress: Progress) -> Run:
    """Count the failure of a run in the metric of its alarm, and store the reason."""
    ports.meter.count("TrainingFailed", trigger=run.trigger)
    ports.blobs.write(run.prefix("failure.json"), orjson.dumps(run.failure or {}))
    return run


#: ``notify`` reports every failure of a run, and ``release`` polls until it is finished.
TRAINING = Machine(
    Run,
    {
        "preprocess": preprocess,
        "two_tower": two_tower,
        "ranker": ranker,
        "evaluate": evaluate,
        "deploy": deploy,
        "release": release,
        "notify": notify,
    },
    again=frozenset({"notify", "release"}),
)


def _prepared(run: Run, ports: Ports) -> Prepared:
    return load_prepared(ports.blobs, run.artifacts["prepared"])


def _learnt(run: Run, log: Log) -> Log:
    """The events before the test period."""
    return log.until(evaluation.period_begins(run, log))


def _midnight(ports: Ports) -> float:
    return ports.clock.now() // 86400 * 86400
