"""Stage 2. Removal of videos that the viewer must not see, each with its reason."""

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
    """Public, allowed in the viewer's country, and within its time window."""

    def refused(rows: Rows) -> Mask:
        status, countries = request.snapshot.take(rows, "status", "countries")
        here = countries[:, request.country >> 3] >> np.uint8(request.country & 7) & 1
        hidden: Mask = (status != STATUS_CODES[Status.PUBLIC]) | (here == 0)
        return hidden

    start, stop = request.snapshot.take(slate.rows, "available_from", "available_until")
    open_now: Mask = (start <= request.now) & (request.now < stop)
    return open_now & _unless(request, slate, refused)


def _unless(request: Request, slate: Slate, refused: Callable[[Rows], Mask]) -> Mask:
    """True except where ``refused``, which is called only for rows that are not eligible.

    The request's bitmap already excludes everything that these rules refuse, so there are usually
    no such rows.
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


#: Rules by reason, in order of application: the first that refuses a video is its reason.
RULES: Mapping[str, Rule] = {
    "watched": watched,
    "policy": policy,
    "availability": availability,
    "freshness": freshness,
    "excluded": excluded,
}
#: Rules that apply to every answer, even when other rules fail.
SAFETY = ("policy", "availability")


@dataclass(frozen=True)
class Filtering:
    """Every rule in turn, then the best of the remaining candidates.

    The search inside the index has already applied most of the rules. Here they are exact at this
    moment, and apply to candidates of every source.
    """

    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)
    name: ClassVar[str] = "filtering"

    def __call__(self, request: Request, slate: Slate) -> Slate:
        """The best `Tuning.keep_filtered` of those that every rule keeps, and the fresh ones."""
        for reason, rule in self.rules.items():
            slate = slate.keep(rule(request, slate), otherwise=reason)
        return slate.top(request.tuning.keep_filtered, and_fresh=True)

    def otherwise(self, request: Request, slate: Slate) -> Slate:
        """The fallback if a rule fails: only the rules in `SAFETY`, which may raise."""
        for reason in SAFETY:
            slate = slate.keep(RULES[reason](request, slate), otherwise=reason)
        return slate.top(request.tuning.keep_filtered)
