"""Reasons for recommendations, in words for the viewer."""

from __future__ import annotations

import numpy as np

from vireo.keys import find
from vireo.recommender.request import Request
from vireo.recommender.slate import EXPLORE, ORGANIC, PROMOTED, TOWER, Slate
from vireo.vectors import Rows

DAY = 86400.0
#: Videos of the history that a reason may name, and the largest rank called popular.
RECALLED, POPULAR = 20, 30
_OF_SLOT = {PROMOTED: "Promoted", EXPLORE: "Something different"}


def reasons(request: Request, slate: Slate) -> list[str]:
    """One phrase for every video of an ordered slate: the most specific that is true."""
    snapshot = request.snapshot
    because = _because(request, slate.rows)
    (published,) = snapshot.take(slate.rows, "published")
    new = (published >= request.now - DAY * request.tuning.fresh_days).tolist()
    popular = (snapshot.loaded.places(request.country, slate.rows) < POPULAR).tolist()
    country = request.country and snapshot.loaded.has_popular(request.country)
    here = snapshot.bundle.vocabulary.countries[request.country - 1] if country else None
    picked = ((slate.proposed >> TOWER & 1) & (len(request.history) > 0)).tolist()
    slots = [ORGANIC] * len(slate) if slate.slots is None else slate.slots.tolist()

    def reason(j: int) -> str:
        if slots[j] in _OF_SLOT:
            return _OF_SLOT[slots[j]]
        if because[j] is not None:
            return f"Because you watched {because[j]}"
        if new[j]:
            return "New this week" if request.tuning.fresh_days <= 7 else "New"
        if popular[j] and here is not None:
            return f"Popular in {here}"
        return "Picked for you" if picked[j] and not popular[j] else "Popular now"

    return [reason(j) for j in range(len(slate))]


def _because(request: Request, rows: Rows) -> list[str | None]:
    """Title of the recent video with the strongest vote for each row; None without one."""
    table, n = request.snapshot.loaded.neighbours, request.snapshot.n
    history = request.history[-RECALLED:]
    history = history[history < n]
    if request.tuning.popularity_only or table is None or not len(history) or not len(rows):
        return [None] * len(rows)
    targets, weights, counts = table.entries(history)
    order = np.argsort(rows)
    found = find(rows[order], targets)
    at = order[found]
    named = np.flatnonzero((found >= 0) & (weights > 0))
    best = np.full(len(rows), -1)
    speakers = np.repeat(np.arange(len(history)), counts)[named]
    ascending = np.lexsort((speakers, weights[named]))  # the strongest is written last
    best[at[named][ascending]] = speakers[ascending]
    (titles,) = request.snapshot.take(history, "titles")
    return [titles[j].decode() if j >= 0 else None for j in best.tolist()]
