"""The recipe: from a log to a bundle, for the state machine and backtests alike."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vireo.jobs.artifacts import group
from vireo.jobs.progress import Progress, within
from vireo.recommender.candidates import Retrieval
from vireo.recommender.contents import ModelBundle
from vireo.recommender.pauses import HOUR
from vireo.training.data.activity import Activity, with_propensity_weights
from vireo.training.data.log import Log
from vireo.training.data.requests import Requests, asked_between
from vireo.training.data.window import Limits
from vireo.training.models import ranker as ranking
from vireo.training.models import two_tower
from vireo.training.models.assembly import Fitted, assemble
from vireo.training.models.examples import Examples, collect
from vireo.training.models.item_to_item import (
    NeighboursConfig,
    fit_neighbours,
    openers,
    successors,
)
from vireo.training.models.ranker import Ranker, RankerConfig
from vireo.training.models.replay import Replay
from vireo.training.models.tower_model import TowerConfig
from vireo.viewers.viewer import HISTORY_CAP

#: Boundaries of the ranker's rolling windows, as shares of the log. The last window is used for
#: early stopping and for the blend.
WINDOWS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class RecipeConfig:
    """The configuration of training; a run document may override any of it."""

    events: int = Limits.events  #: most events that are read, see `vireo.training.data.window`
    days: int = Limits.days  #: days that are read of fewer viewers, rather than fewer of all
    tower: TowerConfig | None = None  #: None: by the log's density and size
    neighbours: NeighboursConfig | None = None  #: likewise
    ranker: RankerConfig | None = None  #: likewise
    retrieval: Retrieval | None = None  #: likewise
    windows: tuple[float, ...] = WINDOWS
    requests: int = 1800  #: number in each window for learning
    judged: int = 3  #: factor for the last window, whose decisions need significance
    cap: int = 20  #: maximum number of a viewer's next-event requests in a window
    #: Epochs and relative learning rate of towers that continue from earlier ones: in every window
    #: after the first, and over all events before a bundle is published.
    further_epochs: int = 2
    further_rate: float = 0.33
    #: Overrides of the settings chosen by the log: "tower" → {"epochs": 5}.
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def towers(self, log: Log, *, further: bool = False) -> TowerConfig:
        """The configuration of towers for a log; with ``further``, of continued training."""
        config = self.tower or self._overridden("tower", TowerConfig.for_log(log))
        if not further:
            return config
        rate = config.learning_rate * self.further_rate
        return replace(config, epochs=self.further_epochs, learning_rate=rate)

    def item_to_item(self, log: Log) -> NeighboursConfig:
        """The configuration of the item-to-item model for a log."""
        return self.neighbours or self._overridden("neighbours", NeighboursConfig.for_log(log))

    def trees(self, log: Log) -> RankerConfig:
        """The configuration of the ranker for a log."""
        return self.ranker or self._overridden("ranker", RankerConfig.for_log(log))

    def sources(self, log: Log) -> Retrieval:
        """The number of candidates by source, and the length of the history used by neighbours."""
        small = log.n_videos <= NeighboursConfig().ease_videos
        default = Retrieval(neighbour_history=HISTORY_CAP if small else 50)
        return self.retrieval or self._overridden("retrieval", default)

    def _overridden(self, name: str, chosen: Any) -> Any:
        return replace(chosen, **self.overrides.get(name, {}))

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """The defaults, changed by settings like {"requests": 500, "tower": {"epochs": 5}, …}.

        Raises:
            ValueError: there is no such setting.
        """
        nested = {name: settings[name] or {} for name in CHOSEN_BY_LOG if name in settings}
        plain = {name: value for name, value in settings.items() if name not in nested}
        _refuse_unknown(plain, cls, "", hidden={"overrides"})
        for name, of_it in nested.items():
            _refuse_unknown(of_it, CHOSEN_BY_LOG[name], f"{name}.")
        return cls(**plain, overrides=nested)


def fit_retrieval(
    log: Log,
    config: RecipeConfig,
    *,
    seed: int,
    start: Mapping[str, NDArray[Any]] | None = None,
    progress: Progress | None = None,
) -> tuple[Fitted, two_tower.TwoTower]:
    """All retrieval models of a log; the towers continue from ``start`` if given."""
    towers = two_tower.fit(
        log,
        config.towers(log, further=start is not None),
        seed=seed,
        start=start,
        progress=progress,
    )
    return fitted_with(log, towers, config), towers


def fitted_with(log: Log, towers: two_tower.TwoTower, config: RecipeConfig) -> Fitted:
    """The retrieval models: the given towers, and the models in closed form."""
    return Fitted(
        tower=towers.arrays(),
        vectors=towers.item_vectors(),
        neighbours=fit_neighbours(log, config.item_to_item(log)).arrays(),
        successors=successors(log).arrays(),
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

    The retrieval models of each window are fitted on the events before it. The towers of each
    window continue from those of the window before, so that rolling costs little more than one fit.
    """
    cuts = [int(len(log) * share) for share in config.windows]
    steps = len(cuts)
    parts: list[Examples] = []
    params: Mapping[str, NDArray[Any]] | None = None
    for w, (begin, end) in enumerate(pairwise(cuts)):
        prefix = f"window {w + 1}/{steps - 1}: "
        seen = with_propensity_weights(log.until(end), activity, float(log.time[begin]))
        past = seen.until(begin)
        fitted, towers = fit_retrieval(
            past,
            config,
            seed=seed,
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
            retrieval=config.sources(log),
        )
        judges = w == steps - 2
        parts.append(
            collect(
                Replay(bundle, seen, activity),
                questions(
                    seen,
                    begin,
                    end,
                    requests=config.requests * (config.judged if judges else 1),
                    cap=config.cap,
                    seed=seed + w,
                ),
                progress=within(progress, (w + 0.6) / steps, (w + 1) / steps, prefix),
            )
        )
    return ranking.fit(
        Examples.joined(parts[:-1]),
        parts[-1],
        config.trees(log),
        seed=seed,
        progress=within(progress, 1 - 1 / steps, 1),
    )


def questions(
    log: Log, begin: int, end: int, *, requests: int, cap: int | None, seed: int
) -> Requests:
    """Requests about the events of positions [begin, end), of three kinds in equal numbers.

    The next event in a session; the next event after a pause, which is rarer and so drawn more
    often; and, once per viewer at the window's start, everything that they watch in it.
    """
    following, returning = asked_between(log, begin, end, cap=cap, seed=seed)
    paused = following.pause >= HOUR
    kinds = (
        following.take(np.flatnonzero(~paused)),
        following.take(np.flatnonzero(paused)),
        returning,
    )
    return Requests.joined(*(kind.sample(requests // 3, seed) for kind in kinds))


def train(
    log: Log,
    activity: Activity | None,
    config: RecipeConfig,
    *,
    version: str,
    seed: int,
    progress: Progress | None = None,
) -> tuple[ModelBundle, Ranker, two_tower.TwoTower]:
    """The bundle that would serve after a log, trained on all of it; with its ranker and towers."""
    ranker = fit_ranker(
        log, activity, config, seed=seed, progress=within(progress, 0, 0.5, "ranker, ")
    )
    now = moment_after(log)
    fitted, towers = fit_retrieval(
        with_propensity_weights(log, activity, now),
        config,
        seed=seed,
        progress=within(progress, 0.5, 1, "towers, "),
    )
    bundle = assemble(
        log,
        activity,
        fitted,
        version=version,
        now=now,
        retrieval=config.sources(log),
        extra=ranker_arrays(ranker),
    )
    return bundle, ranker, towers


def moment_after(log: Log) -> float:
    """The earliest moment after all events of a log, in unix seconds."""
    return float(np.nextafter(log.time[-1], np.inf))


def arrays_of(fitted: Fitted) -> dict[str, NDArray[Any]]:
    """The arrays by name, for an artifact."""
    return {
        "vectors": fitted.vectors,
        "opener_score": fitted.opener_score,
        **{f"tower/{name}": array for name, array in fitted.tower.items()},
        **{f"neighbours/{name}": array for name, array in fitted.neighbours.items()},
        **{f"successors/{name}": array for name, array in fitted.successors.items()},
    }


def fitted_of(arrays: Mapping[str, NDArray[Any]]) -> Fitted:
    """The inverse of `arrays_of`."""
    return Fitted(
        tower=group(arrays, "tower"),
        vectors=arrays["vectors"],
        neighbours=group(arrays, "neighbours"),
        successors=group(arrays, "successors"),
        opener_score=arrays["opener_score"],
    )


def ranker_arrays(ranker: Ranker) -> dict[str, NDArray[Any]]:
    """The ranker's arrays in a bundle."""
    return {
        **{f"ranker/{name}": array for name, array in ranker.arrays.items()},
        "blend": ranker.blend,
        "retrieval_blend": ranker.retrieval_blend,
    }


CHOSEN_BY_LOG: Mapping[str, type[Any]] = {
    "tower": TowerConfig,
    "neighbours": NeighboursConfig,
    "ranker": RankerConfig,
    "retrieval": Retrieval,
}


def _refuse_unknown(
    settings: Mapping[str, Any], kind: type[Any], where: str, hidden: Collection[str] = ()
) -> None:
    known = sorted({f.name for f in fields(kind)} - set(hidden))
    for name in settings:
        if name not in known:
            raise ValueError(f"no setting {where}{name}; there are {known}")
