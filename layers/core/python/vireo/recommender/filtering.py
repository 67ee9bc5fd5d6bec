"""Stage 2. Drop what this viewer must not see, and remember why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from vireo.catalogue.columns import STATUS_CODES
from vireo.catalogue.models import Status
from vireo.recommender.request import Request
from vireo.recommender.slate import Mask, Slate
from vireo.vectors import Rows, has

Rule = Callable[[Request, Slate], Mask]  #: True keeps the candidate

DAY = 86400.0


def watched(request: Request, slate: Slate) -> Mask:
    """Not yet watched, nor disliked."""
    return _unless(request, slate, lambda rows: np.isin(rows, request.watched))


def excluded(request: Request, slate: Slate) -> Mask:
    """Not excluded by the caller."""
    return _unless(request, slate, lambda rows: np.isin(rows, request.excluded))


def policy(request: Request, slate: Slate) -> Mask:
    """Rated for the viewer's age and region."""

    def refused(rows: Rows) -> Mask:
        (rating,) = request.snapshot.take(rows, "age_rating")
        too_high: Mask = rating > request.rating
        return too_high

    return _unless(request, slate, refused)


def availability(request: Request, slate: Slate) -> Mask:
    """Public, shown in this country, and within its window at this moment."""

    def refused(rows: Rows) -> Mask:
        status, countries = request.snapshot.take(rows, "status", "countries")
        here = countries[:, request.country >> 3] >> np.uint8(request.country & 7) & 1
        hidden: Mask = (status != STATUS_CODES[Status.PUBLIC]) | (here == 0)
        return hidden

    start, stop = request.snapshot.take(slate.rows, "available_from", "available_until")
    open_now: Mask = (start <= request.now) & (request.now < stop)
    return open_now & _unless(request, slate, refused)


def _unless(request: Request, slate: Slate, refused: Callable[[Rows], Mask]) -> Mask:
    """True but where ``refused``, which is asked only of rows that are not eligible anyway.

    The bitmap of a request knows all that these rules refuse; usually nothing is left to ask.
    """
    keep = has(request.eligible, slate.rows)
    if not keep.all():
        asked = np.flatnonzero(~keep)
        keep[asked] = ~refused(slate.rows[asked])
    return keep


def freshness(request: Request, slate: Slate) -> Mask:
    """Not older than the settings allow, and not published in the future."""
    (published,) = request.snapshot.take(slate.rows, "published")
    fresh: Mask = ~(published > request.now)
    if request.tuning.max_age_days is not None:
        fresh &= ~(published < request.now - DAY * request.tuning.max_age_days)
    return fresh


#: Reason to rule, in the order in which they are asked: the first that refuses is remembered.
RULES: Mapping[str, Rule] = {
    "watched": watched,
    "policy": policy,
    "availability": availability,
    "freshness": freshness,
    "excluded": excluded,
}
#: Without these nothing may be answered, whatever fails.
SAFETY = ("policy", "availability")


@dataclass(frozen=True)
class Filtering:
    """Every rule in turn, then the best of what is left.

    The search has applied most of them already, inside the index; here they are exact at this
    moment, and hold for candidates from wherever they come.
    """

    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    name: ClassVar[str] = "filtering"

    def __call__(self, request: Request, slate: Slate) -> Slate:
        """What every rule keeps: the best `Tuning.keep_filtered` of it, and the fresh."""
        for reason, rule in self.rules.items():
            slate = slate.keep(rule(request, slate), otherwise=reason)
        return slate.top(request.tuning.keep_filtered, and_fresh=True)

    def otherwise(self, request: Request, slate: Slate) -> Slate:
        """When a rule breaks: the rules of safety alone, and whatever they refuse is refused."""
        for reason in SAFETY:
            slate = slate.keep(RULES[reason](request, slate), otherwise=reason)
        return slate.top(request.tuning.keep_filtered)
