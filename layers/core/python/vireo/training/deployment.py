"""Deployment of accepted models: refit on the latest events, check, publish, switch, record."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vireo.bundles import files as bundles
from vireo.bundles import pointer as pointers
from vireo.bundles.manifest import BundleRefused
from vireo.bundles.pointer import Pointer
from vireo.jobs.progress import Progress
from vireo.ports import Ports, Table
from vireo.recommender.contents import CHANGES, ModelBundle
from vireo.recommender.features import features
from vireo.training.data import requests
from vireo.training.data.activity import with_propensity_weights
from vireo.training.data.prepared import Prepared, load_prepared
from vireo.training.judging.evaluation import CUT, LAST_EVENT, Challenger
from vireo.training.models import ranker as ranking
from vireo.training.models import recipe
from vireo.training.models.assembly import assemble, without_models
from vireo.training.models.replay import Replay
from vireo.training.run import Decision, Run

#: Tolerance between the packed trees and CatBoost, and the number of requests compared.
TOLERANCE, CHECKED = 1e-6, 50
#: Metrics of a run that stand beside its model in the registry: protocols, and the served lists.
KEPT = ("temporal", "successive", "served")


_LOG = logging.getLogger(__name__)


class Unfit(Exception):
    """The published bundle differs from the models it was made of; it must not serve."""


def in_production(ports: Ports) -> ModelBundle | None:
    """The bundle that serves; None before the first deployment, or if it is damaged.

    A damaged bundle must not prevent a sound one from replacing it: it is counted in a metric, and
    no comparison is made with it.
    """
    pointer = pointers.current(ports.records)
    if pointer is None:
        return None
    try:
        return bundles.fetch(ports.blobs, pointer.version, Path(ports.scratch), ModelBundle)
    except BundleRefused:
        _LOG.exception("the bundle in production, %s, is damaged", pointer.version)
        ports.meter.count("BundleRefused")
        return None


def build(
    run: Run, prepared: Prepared, challenger: Challenger, *, now: float, progress: Progress
) -> ModelBundle:
    """The bundle to deploy: the accepted models, updated with the latest events.

    The test period is not needed any more, and a feed cannot wait for the next run to learn from
    its latest days. So the towers are trained further, for a few epochs over all events, and
    closed-form models are solved again. The ranker and the blends stay as they were evaluated.
    """
    config = challenger.config
    fitted, _ = recipe.fit_retrieval(
        with_propensity_weights(prepared.log, prepared.activity, now),
        config,
        seed=run.seed,
        start=challenger.params,
        progress=progress,
    )
    return assemble(
        prepared.log,
        prepared.activity,
        fitted,
        version=run.run_id,
        now=now,
        retrieval=config.sources(prepared.log),
        extra=recipe.ranker_arrays(challenger.ranker),
        watermark=float(run.metrics["catalogue_read_at"]),
        config=_origin(run, prepared),
    )


def _origin(run: Run, prepared: Prepared) -> dict[str, Any]:
    """The entries of a manifest that record the origin of its bundle."""
    return {
        "run": run.run_id,
        CHANGES: run.metrics.get("changes"),
        "events": len(prepared.log),
        LAST_EVENT: float(max(prepared.log.time[-1], prepared.activity.time[-1])),
    }


def serve_without_models(run: Run, ports: Ports) -> str:
    """Deploy a bundle without models, after a run was refused while nothing serves. Its version.

    Raises:
        vireo.ports.Conflict: a bundle serves already.
    """
    prepared = load_prepared(ports.blobs, run.artifacts["prepared"])
    bundle = without_models(
        prepared.log,
        prepared.activity,
        version=f"{run.run_id}-popular",
        now=ports.clock.now(),
        watermark=float(run.metrics["catalogue_read_at"]),
        config=_origin(run, prepared),
    )
    bundles.publish(bundle, ports.blobs)
    pointers.switch(ports.records, bundle.version, expect=None)
    return bundle.version


def publish(
    run: Run,
    bundle: ModelBundle,
    challenger: Challenger,
    prepared: Prepared,
    ports: Ports,
    *,
    expect: Pointer | None,
) -> None:
    """Write the bundle, load it as a server would, check it, and only then make it serve.

    Raises:
        Unfit: it does not answer, or its scores are not CatBoost's.
        vireo.ports.Conflict: another deployment was faster; the pointer is unchanged.
    """
    manifest = bundles.publish(bundle, ports.blobs)
    loaded = bundles.fetch(ports.blobs, bundle.version, Path(ports.scratch), ModelBundle, anew=True)
    check(loaded, challenger, prepared)
    for name in ("report.html", "report.json"):
        text = ports.blobs.read(f"{run.artifacts['report']}/{name}")
        ports.blobs.write(f"bundles/{bundle.version}/{name}", text)
    ports.records.put(
        Table.REGISTRY,
        "models",
        bundle.version,
        {
            "run": run.run_id,
            "created_at": manifest.created_at,
            "watermark": manifest.watermark,
            "videos": len(bundle.columns),
            "events": len(prepared.log),
            "bytes": sum(entry.bytes for entry in manifest.files.values()),
            "metrics": _plain(run.metrics),
        },
    )
    pointers.switch(ports.records, bundle.version, expect=expect)


def withdraw(version: str, ports: Ports) -> None:
    """Move the pointer back to the previous bundle, unless it has been moved already."""
    pointer = pointers.current(ports.records)
    ports.meter.count("ReleaseWithdrawn")
    if pointer is not None and pointer.version == version and pointer.previous is not None:
        pointers.switch(ports.records, pointer.previous, expect=pointer)


def check(bundle: ModelBundle, challenger: Challenger, prepared: Prepared) -> None:
    """Answer some of the latest requests, and compare the ranker's scores with CatBoost's own."""
    _, test = requests.boundaries(prepared.log, CUT)
    following, _ = requests.asked_between(prepared.log, test, len(prepared.log), cap=1, seed=0)
    replay = Replay(bundle, prepared.log, prepared.activity)
    model = ranking.load(challenger.ranker.model) if challenger.ranker.model else None
    for request, slate in replay.slates(following.sample(CHECKED, 0), "ranked"):
        if not len(slate) or not np.isfinite(slate.score).all():
            raise Unfit("a viewer of the log got no list, or scores that are no numbers")
        trees = request.snapshot.loaded.ranker
        if (trees is None) != (model is None):
            raise Unfit("the ranker is missing, or is not the one that was judged")
        if trees is not None and model is not None:
            matrix = features(request, slate)
            gap = np.abs(trees.predict(matrix) - model.predict(ranking.frame(matrix))).max()
            if gap > TOLERANCE:
                raise Unfit(f"packed trees and CatBoost differ by {gap:.1e}")


def record(run: Run, ports: Ports, decision: Decision) -> None:
    """Record the decision on a run, so that refusals can be looked up, too."""
    ports.records.put(
        Table.REGISTRY,
        "runs",
        run.run_id,
        {
            "at": ports.clock.now(),
            "trigger": run.trigger,
            "deploy": decision.deploy,
            "reasons": list(decision.reasons),
            "left_out": list(decision.left_out),
        },
    )


def _plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics to be kept with a model: figures by protocol and system."""
    return {name: metrics[name] for name in KEPT if name in metrics}
