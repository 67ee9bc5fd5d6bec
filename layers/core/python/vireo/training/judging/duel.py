"""Comparison of the challenger with production's model, on videos that viewers found themselves.

Videos that production's model showed are watched because they were shown, which favours that model.
So videos that a viewer was shown in the test period are left out for both: as targets, and from
both lists, which are condensed (Sakai, SIGIR 2007). This removes the top of production's list;
therefore as many videos are removed from the top of the challenger's list, to favour neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vireo.intervals import Values
from vireo.training.data.activity import Activity
from vireo.training.data.metrics import Lists, per_request
from vireo.training.data.requests import Mask, Requests

Rows = NDArray[np.integer]

#: Minimum length of a condensed list.
LEAST = 10


@dataclass(frozen=True)
class Duel:
    """The metrics of two models on the same requests."""

    requests: Requests
    ours: Mapping[str, Values]  #: the challenger's float64 [r] by metric
    theirs: Mapping[str, Values]  #: those of production's model
    targets: int  #: number before any was left out


def duel(ours: Lists, theirs: Lists, requests: Requests, activity: Activity, since: float) -> Duel:
    """The comparison of two models' lists.

    Args:
        ours: the challenger's lists, int32 [r, k], -1 padded.
        theirs: those of production's model.
        requests: that both answer.
        activity: the events, some of which name the request that showed the video.
        since: beginning of the test period in unix seconds.
    """
    late = activity.recommended & (activity.time >= since)
    shown = np.unique(_pairs(activity.user[late], activity.video[late]))
    row = np.arange(len(requests))[:, None]
    lost = _among(shown, requests.user[:, None], theirs).sum(1)
    first = np.arange(ours.shape[1]) < lost[:, None]
    alike = np.unique(_pairs(np.broadcast_to(row, ours.shape)[first], ours[first]))

    def out(row: Rows, video: Rows) -> Mask:
        return _among(shown, requests.user[row], video) | _among(alike, row, video)

    wanted = ~out(requests.target_owner(), requests.target)
    closed = [_closed(lists, out(row, lists)) for lists in (ours, theirs)]
    for before, after in zip((ours, theirs), closed, strict=True):
        depth = (after >= 0).sum(1)
        enough = (depth == (before >= 0).sum(1)) | (depth >= LEAST)
        wanted &= enough[requests.target_owner()]
    left, kept = requests.with_targets(wanted)
    mine, others = (per_request(lists[kept], left) for lists in closed)
    return Duel(left, mine, others, len(requests.target))


def _pairs(one: Rows, video: Rows) -> NDArray[np.int64]:
    """One number for every (viewer or request, video), all below 2³¹; -1 matches no video."""
    return one.astype(np.int64) << 32 | (video.astype(np.int64) & 0xFFFF_FFFF)


def _among(pairs: NDArray[np.int64], one: Rows, video: Rows) -> Mask:
    return np.isin(_pairs(one, video), pairs)


def _closed(lists: Lists, out: Mask) -> Lists:
    """The lists condensed: without the videos of a mask."""
    gone = (lists < 0) | out
    order = np.argsort(gone, axis=1, kind="stable")
    return np.take_along_axis(np.where(gone, np.int32(-1), lists), order, axis=1)
