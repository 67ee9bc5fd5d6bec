"""The whole recipe: from a log to a bundle, the same for the state machine and for a backtest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vireo.bundle import Bundle
from vireo.recommender.candidates import Retrieval
from vireo.training import ranker as ranking
from vireo.training import two_tower
from vireo.training.activity import Activity
from vireo.training.artifacts import group
from vireo.training.assembly import Fitted, assemble
from vireo.training.examples import Examples, Progress, collect
from vireo.training.log import Log
from vireo.training.neighbours import NeighboursConfig, fit_neighbours, openers
from vireo.training.protocols import Requests, asked_between
from vireo.training.ranker import Ranker, RankerConfig
from vireo.training.replay import Replay
from vireo.training.tower_model import TowerConfig

#: Rolling windows of the ranker: each begins at one of these shares of the log and ends at the
#: next. The last window is not learned from; it stops the training and fits the blend.
WINDOWS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class RecipeConfig:
    """Everything that can be set about training; a run document may override any of it."""

    tower: TowerConfig | None = None  #: None: chosen by the log's density and size
    neighbours: NeighboursConfig | None = None  #: likewise
    ranker: RankerConfig = field(default_factory=RankerConfig)
    retrieval: Retrieval = field(default_factory=Retrieval)
    windows: tuple[float, ...] = WINDOWS
    requests: int = 1500  #: asked in each window
    cap: int = 8  #: requests of one viewer in a window, at most
    first_epochs: int = 8  #: of the towers before the first window …
    next_epochs: int = 2  #: … and of every later window, which goes on from there
    final_epochs: int = 2  #: over all events, before a bundle is published

    @classmethod
    def of(cls, overrides: Mapping[str, Any]) -> Self:
        """The defaults with overrides: {"requests": 500, "tower": {"epochs": 5}, …}.

        Raises:
            ValueError: there is no such setting.
        """
        config: Self = _override(cls(), overrides, "")
        return config


def fit_retrieval(
    log: Log,
    config: RecipeConfig,
    *,
    seed: int,
    epochs: int | None = None,
    start: Mapping[str, NDArray[Any]] | None = None,
    progress: Progress | None = None,
) -> tuple[Fitted, two_tower.TwoTower]:
    """All retrieval models of a log; the towers go on from ``start`` if given."""
    towers = two_tower.fit(
        log,
        config.tower or TowerConfig.for_log(log),
        seed=seed,
        epochs=epochs,
        start=start,
        progress=progress,
    )
    return fitted_with(log, towers, config), towers


def fitted_with(log: Log, towers: two_tower.TwoTower, config: RecipeConfig) -> Fitted:
    """Towers and, beside them, the models in closed form."""
    return Fitted(
        tower=towers.arrays(),
        vectors=towers.item_vectors(),
        neighbours=fit_neighbours(log, config.neighbours or NeighboursConfig.for_log(log)).arrays(),
        opener_score=openers(log),
    )


def fit_ranker(
    log: Log,
    activity: Activity | None,
    config: RecipeConfig,
    *,
    seed: int,
    progress: Progress | None = None,
) -> Ranker:
    """The ranker and the blends, by rolling windows over the log.

    For each window the retrieval models know the events before it and none in it; the towers of the
    next window go on from those of the one before, so that rolling costs little more than one fit.
    """
    cuts = [int(len(log) * share) for share in config.windows]
    steps = len(cuts)
    parts: list[Examples] = []
    params: Mapping[str, NDArray[Any]] | None = None
    for w, (begin, end) in enumerate(pairwise(cuts)):
        seen, past, prefix = log.until(end), log.until(begin), f"window {w + 1}/{steps - 1}: "
        fitted, towers = fit_retrieval(
            past,
            config,
            seed=seed,
            epochs=config.first_epochs if params is None else config.next_epochs,
            start=params,
            progress=within(progress, w / steps, (w + 0.6) / steps, prefix),
        )
        params = towers.params
        bundle = assemble(
            past,
            activity,
            fitted,
            version=f"window-{w}",
            now=float(log.time[begin]),
            retrieval=config.retrieval,
        )
        parts.append(
            collect(
                Replay(bundle, seen, activity),
                questions(seen, begin, end, config, seed=seed + w),
                progress=within(progress, (w + 0.6) / steps, (w + 1) / steps, prefix),
            )
        )
    return ranking.fit(
        Examples.joined(parts[:-1]),
        parts[-1],
        config.ranker,
        seed=seed,
        progress=within(progress, 1 - 1 / steps, 1),
    )


def questions(log: Log, begin: int, end: int, config: RecipeConfig, *, seed: int) -> Requests:
    """What is asked about the events of positions [begin, end): two kinds of requests.

    Next events, as a live feed asks; and, once per viewer at the window's start, everything that
    they watch in it, as a viewer who returns is asked.
    """
    following, returning = asked_between(log, begin, end, cap=config.cap, seed=seed)
    share = config.requests * 2 // 3
    return Requests.joined(
        following.sample(share, seed), returning.sample(config.requests - share, seed)
    )


def train(
    log: Log,
    activity: Activity | None,
    config: RecipeConfig,
    *,
    version: str,
    seed: int,
    progress: Progress | None = None,
) -> tuple[Bundle, Ranker, two_tower.TwoTower]:
    """Everything that may be learned from a log, as the bundle that would serve after it."""
    ranker = fit_ranker(
        log, activity, config, seed=seed, progress=within(progress, 0, 0.5, "ranker, ")
    )
    fitted, towers = fit_retrieval(
        log, config, seed=seed, progress=within(progress, 0.5, 1, "towers, ")
    )
    bundle = assemble(
        log,
        activity,
        fitted,
        version=version,
        now=float(np.nextafter(log.time[-1], np.inf)),
        retrieval=config.retrieval,
        extra=ranker_arrays(ranker),
    )
    return bundle, ranker, towers


def within(progress: Progress | None, start: float, stop: float, prefix: str = "") -> Progress:
    """Progress of a part of the work, as progress of the whole from ``start`` to ``stop``."""

    def told(share: float, what: str) -> None:
        if progress is not None:
            progress(start + (stop - start) * share, prefix + what)

    return told


def arrays_of(fitted: Fitted) -> dict[str, NDArray[Any]]:
    """Name to array, for an artifact."""
    return {
        "vectors": fitted.vectors,
        "opener_score": fitted.opener_score,
        **{f"tower/{name}": array for name, array in fitted.tower.items()},
        **{f"neighbours/{name}": array for name, array in fitted.neighbours.items()},
    }


def fitted_of(arrays: Mapping[str, NDArray[Any]]) -> Fitted:
    """The inverse of `arrays_of`."""
    return Fitted(
        tower=group(arrays, "tower"),
        vectors=arrays["vectors"],
        neighbours=group(arrays, "neighbours"),
        opener_score=arrays["opener_score"],
    )


def ranker_arrays(ranker: Ranker) -> dict[str, NDArray[Any]]:
    """What a bundle holds of a ranker."""
    return {
        **{f"ranker/{name}": array for name, array in ranker.arrays.items()},
        "blend": ranker.blend,
        "retrieval_blend": ranker.retrieval_blend,
    }


def _override(config: Any, overrides: Mapping[str, Any], where: str) -> Any:
    known = {f.name: f for f in fields(config)}
    changes: dict[str, Any] = {}
    for name, value in overrides.items():
        if name not in known:
            raise ValueError(f"no setting {where}{name}; there are {sorted(known)}")
        current = getattr(config, name)
        if current is None:  # chosen by the log, unless something of it is set
            current = {"tower": TowerConfig, "neighbours": NeighboursConfig}[name]()
        nested = isinstance(value, Mapping)
        changes[name] = _override(current, value, f"{where}{name}.") if nested else value
    return replace(config, **changes)
