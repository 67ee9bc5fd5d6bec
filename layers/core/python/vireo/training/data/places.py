"""Propensities of places, and weights by them, so that a place is not taken for merit.

The position-based model (Richardson et al., WWW 2007; Craswell et al., WSDM 2008) with one factor
more: a click needs that the place is looked at, that the viewer cares for such videos, and that
the video attracts. Without the middle one, places at the top of personal lists would be thought
better than they are, as they show everybody what suits them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vireo.catalogue.places import GROUPS, groups

#: A place, and a viewer's taste, are judged by their own clicks and by so many of the average one
#: (a gamma prior around 1), so that few clicks leave rates as they are.
PLACE_PRIOR, TASTE_PRIOR = 10.0, 1.0
#: Lists that are ordered for each viewer make θ fall faster than attention does, so it is believed
#: half (the square root).
TRUST = 0.5
#: No event counts more than so many average ones, or a few from the bottom would decide alone.
MOST = 10.0
#: Rounds of the fit at most, and the change of a place's propensity at which it ends.
_ROUNDS, _CHANGE = 60, 1e-4

Floats = NDArray[np.float64]
Rows = NDArray[np.integer]


@dataclass(frozen=True)
class Shown:
    """Impressions, or clicks, as arrays [n]."""

    video: Rows
    place: Rows  #: from 0 on, -1 unknown
    taste: Rows  #: who and what kind of video: a number for every pair, from 0 on

    @property
    def at(self) -> Rows:
        """The groups of the places: [n]."""
        return groups(self.place)


def propensities(shown: Shown, clicked: Shown) -> tuple[Floats, Floats]:
    """The propensity of an impression: its clicks relative to the average, by place and viewer.

    The clicks on video v in places k by viewers with taste u are E c = n · θ_k · ρ_u · γ_v. Each
    factor in turn is its clicks divided by the clicks that the other factors predict: maximum
    likelihood for Poisson counts, which only assumes this mean. Many videos with few impressions do
    not bias it (Hausman, Hall and Griliches, Econometrica 1984).

    Returns:
        the propensity of every impression, float64 [n] with a mean of 1; and θ, float64
        [GROUPS], with a mean of 1 over impressions. All 1 without clicks or impressions.
    """
    n, theta = len(shown.video), np.ones(GROUPS)
    if not n or not len(clicked.video):
        return np.ones(n), theta
    videos = int(max(shown.video.max(), clicked.video.max())) + 1
    tastes = int(max(shown.taste.max(), clicked.taste.max())) + 1
    at, rho = shown.at, np.ones(tastes)
    by_video = np.bincount(clicked.video, minlength=videos)
    by_place = np.bincount(clicked.at, minlength=GROUPS)
    by_taste = np.bincount(clicked.taste, minlength=tastes)
    for _ in range(_ROUNDS):
        expected = np.bincount(shown.video, theta[at] * rho[shown.taste], videos)
        gamma = np.divide(by_video, expected, out=np.zeros(videos), where=expected > 0)
        merit = gamma[shown.video]
        before = theta
        theta = _factor(by_place, at, merit * rho[shown.taste], PLACE_PRIOR)
        rho = _factor(by_taste, shown.taste, merit * theta[at], TASTE_PRIOR)
        if np.abs(theta - before).max() < _CHANGE:
            break
    propensity = theta[at] * rho[shown.taste]
    return propensity / propensity.mean(), theta


def propensity_weights(theta: Floats, clicked: Shown) -> NDArray[np.float32]:
    """Weights of positive events that correct for their place: float32 [GROUPS].

    Inverse propensities (Joachims, Swaminathan and Schnabel, WSDM 2017), tempered: θ^-`TRUST`,
    clipped at `MOST`, and normalised before clipping to a mean of 1 over the clicks. Events without
    a known place have the weight 1.
    """
    counts = np.bincount(clicked.at, minlength=GROUPS)[:-1]
    weight = theta[:-1] ** -TRUST
    if counts.any():
        for _ in range(2):  # what is cut off is spread over the others
            weight = np.minimum(weight * (counts.sum() / (counts @ weight)), MOST)
    return np.append(weight, 1).astype(np.float32)


def _factor(clicks: Rows, group: Rows, others: Floats, prior: float) -> Floats:
    """Clicks of every group over those that the other factors expect, 1 on average."""
    expected = np.bincount(group, others, len(clicks))
    factor = (clicks + prior) / (expected + prior)
    return np.asarray(factor / factor[group].mean(), np.float64)
