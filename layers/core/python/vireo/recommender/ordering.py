"""Stage 4. From scores to a list: variety, freshness, promoted and exploration slots."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from vireo.keys import key_of
from vireo.recommender.request import Request
from vireo.recommender.slate import EXPLORE, FRESH, ORGANIC, PROMOTED, SOURCES, Floats, Slate
from vireo.recommender.steering.campaigns import Campaign, Reserve
from vireo.vectors import has

DAY = 86400.0


def boosted(request: Request, slate: Slate) -> Floats:
    """Scores with a bonus for fresh videos, in units of the scores' standard deviation."""
    tuning = request.tuning
    if not tuning.fresh_boost or not len(slate):
        return slate.score
    (published,) = request.snapshot.take(slate.rows, "published")
    fresh = published >= request.now - DAY * tuning.fresh_days
    bonus = np.float32(tuning.fresh_boost) * slate.score.std()
    score: Floats = slate.score + np.where(fresh, bonus, np.float32(0))
    return score


def diverse(request: Request, slate: Slate, k: int) -> list[int]:
    """Positions of the k best, with a limited share of any one category or channel.

    A video of unknown category or channel does not count towards a limit. If fewer than k remain,
    the best of the held back ones fill the list.
    """
    categories, channels = request.snapshot.take(slate.rows, "category", "channel")
    of_category, of_channel = categories.tolist(), channels.tolist()
    most_category = max(1, math.ceil(request.tuning.category_share * k))
    most_channel = max(1, math.ceil(request.tuning.channel_share * k))
    by_category: defaultdict[int, int] = defaultdict(int)
    by_channel: defaultdict[int, int] = defaultdict(int)
    chosen: list[int] = []
    held: list[int] = []
    for j in np.lexsort((slate.rows, -slate.score)).tolist():
        if len(chosen) == k:
            break
        category, channel = of_category[j], of_channel[j]
        if by_category[category] >= most_category or by_channel[channel] >= most_channel:
            held.append(j)
            continue
        chosen.append(j)
        by_category[category] += category != 0
        by_channel[channel] += channel != 0
    return chosen + held[: k - len(chosen)]


def explored(request: Request, slate: Slate, chosen: list[int]) -> tuple[list[int], set[int]]:
    """Exploration slots, for candidates that their score alone would not show.

    They are drawn by hashing viewer and hour, so that equal requests have equal answers and the
    draw changes with time. One slot is for a new video, if there is one. Lists of fewer than five
    have none.

    Returns:
        positions in the slate, and the set of those that are explorations.
    """
    k = len(chosen)
    left = np.ones(len(slate), bool)
    left[chosen] = False
    order = np.argsort(slate.rows)
    order = order[left[order]]
    rest, fresh = order.tolist(), order[slate.proposed[order] >> FRESH & 1 == 1].tolist()
    slots = min(request.tuning.explore_slots, k // 5, len(rest))
    drawn: list[int] = []
    for nth in range(slots):
        pool = fresh if fresh and not drawn else rest
        drawn.append(pool[_draw(request, nth, len(pool))])
        rest.remove(drawn[-1])
    listed = chosen[: k - slots]
    for nth, position in enumerate(drawn, 1):
        listed.insert(nth * k // (slots + 1), position)
    return listed, set(drawn)


def _draw(request: Request, nth: int, size: int) -> int:
    return key_of(f"{request.user_id}\0{request.now // 3600}\0{nth}") % size


@dataclass(frozen=True)
class Ordering:
    """Builds the final list."""

    campaigns: Sequence[Campaign] = ()  #: in order of priority
    reserve: Reserve | None = None
    name: ClassVar[str] = "ordering"

    def __call__(self, request: Request, slate: Slate) -> Slate:
        """The final list, best first, every candidate labelled with its slot."""
        slate = replace(slate, score=boosted(request, slate))
        listed, drawn = explored(request, slate, diverse(request, slate, request.limit))
        slots = np.array([EXPLORE if j in drawn else ORGANIC for j in listed], np.uint8)
        ordered = slate.take(np.array(listed, np.intp))
        return self._promote(request, replace(ordered, slots=slots))

    def otherwise(self, request: Request, slate: Slate) -> Slate:
        """The fallback if a rule of ordering fails: by score, without promotion."""
        best = slate.top(request.limit)
        return replace(best, slots=np.full(len(best), ORGANIC, np.uint8))

    def _promote(self, request: Request, slate: Slate) -> Slate:
        """Promoted slots, given to campaigns in order of priority, at most one to each."""
        places = [p for p in sorted(request.tuning.promoted_positions) if p < request.limit]
        fitting = [c for c in self.campaigns if c.is_for(request)] if places else []
        if self.reserve is None or not fitting:
            return slate
        for campaign in fitting:
            rows = request.snapshot.rows(campaign.keys)
            rows = rows[rows >= 0]
            free = [
                r for r in rows[has(request.eligible, rows)].tolist() if r not in slate.campaigns
            ]
            if places and free and self.reserve(campaign, request):
                slate = _inserted(slate, free[0], places.pop(0), campaign.campaign_id)
        return slate.take(np.arange(min(len(slate), request.limit)))


#: The rules that turn scores into a list, in order of application.
RULES: Mapping[str, Callable[..., Any]] = {
    "freshness": boosted,
    "variety": diverse,
    "exploration": explored,
    "campaigns": Ordering._promote,
}


def _inserted(slate: Slate, row: int, place: int, campaign_id: str) -> Slate:
    """The slate with a promoted row at that place, without an organic entry of the same video."""
    slate = slate.take(slate.rows != row)
    place = min(place, len(slate))
    slots = np.zeros(len(slate), np.uint8) if slate.slots is None else slate.slots
    nan = np.float32(np.nan)
    return replace(
        slate,
        rows=np.insert(slate.rows, place, row),
        scores=np.insert(slate.scores, place, np.full(len(SOURCES), nan), axis=1),
        z=np.insert(slate.z, place, np.zeros(len(SOURCES)), axis=1),
        proposed=np.insert(slate.proposed, place, 0),
        score=np.insert(slate.score, place, nan),
        features=None,
        slots=np.insert(slots, place, PROMOTED),
        campaigns={**slate.campaigns, row: campaign_id},
    )
