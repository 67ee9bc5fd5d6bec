"""A log asked of the serving code: its candidates, features and lists, as a viewer would get them.

Training and evaluation go through the very stages that serve, over a bundle that knows only what
came before; so there is nothing that a model meets when serving and did not meet here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vireo.bundle import Bundle
from vireo.catalogue import Profile
from vireo.recommender.candidates import candidates
from vireo.recommender.filtering import Filtering
from vireo.recommender.ordering import Ordering
from vireo.recommender.ranking import Ranking
from vireo.recommender.slate import Request, Slate
from vireo.recommender.snapshot import Model, Snapshot
from vireo.recommender.tuning import Tuning
from vireo.training.activity import Activity
from vireo.training.log import Log
from vireo.training.protocols import Requests
from vireo.viewer import HISTORY_CAP, WATCHED_CAP, Viewer

Stage = Literal["retrieval", "ranked", "final"]
#: Availability is judged anew whenever the log has moved on by this share of the replayed time.
REFRESHES = 50


@dataclass(frozen=True)
class Replay:
    """One bundle and one log. The bundle may be older and know other videos than the log."""

    bundle: Bundle
    log: Log
    activity: Activity | None = None
    tuning: Tuning = Tuning(explore_slots=0)

    def slates(self, requests: Requests, stage: Stage) -> Iterator[tuple[Request, Slate]]:
        """Every request and its slate after that stage, in the order of ``requests``."""
        for request, snapshot in self._asked(requests):
            yield request, self._run(snapshot, request, stage)
