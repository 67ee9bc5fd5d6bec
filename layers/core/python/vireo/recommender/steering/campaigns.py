"""Promotion campaigns: audience, period, budget of impressions, and cap per viewer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vireo.fields import Country, Identifier, Language, Moment
from vireo.keys import Keys, keys_of
from vireo.ports import Cache, Records, Table
from vireo.recommender.request import Request

Age = Annotated[int, Field(ge=0, le=120)]
#: What a record can hold (`vireo.homes.items`).
MOST = 2**63 - 1


class Campaign(BaseModel):
    """Videos to promote. An empty audience is everybody; an unknown attribute matches none."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    campaign_id: Identifier
    active: bool = True
    video_ids: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=50)]
    countries: tuple[Country, ...] = ()
    languages: tuple[Language, ...] = ()
    devices: tuple[Identifier, ...] = ()
    min_age: Age | None = None
    max_age: Age | None = None
    starts: Moment | None = None
    ends: Moment | None = None
    budget: Annotated[int, Field(ge=1, le=MOST, description="impressions in all")]
    cap: Annotated[int, Field(ge=1, le=MOST, description="impressions per viewer in cap_hours")] = 3
    cap_hours: Annotated[float, Field(gt=0, le=720)] = 24.0
    priority: Annotated[int, Field(ge=-MOST, le=MOST)] = 0

    @model_validator(mode="after")
    def _window(self) -> Self:
        if self.starts and self.ends and self.ends <= self.starts:
            raise ValueError("ends must be after starts")
        return self

    @cached_property
    def keys(self) -> Keys:
        """Keys of the videos, in order of preference."""
        return keys_of(self.video_ids)

    def is_for(self, request: Request) -> bool:
        """True if the request's time and viewer match the campaign's period and audience."""
        if not self.active:
            return False
        if self.starts is not None and request.now < self.starts.timestamp():
            return False
        if self.ends is not None and request.now >= self.ends.timestamp():
            return False
        if self.min_age is not None and request.age < self.min_age:
            return False
        if self.max_age is not None and not 0 <= request.age <= self.max_age:
            return False
        return all(
            not wanted or code in self._codes(request, kind, wanted)
            for kind, wanted, code in (
                ("countries", self.countries, request.country),
                ("languages", self.languages, request.language),
                ("devices", self.devices, request.device),
            )
        )

    @staticmethod
    def _codes(request: Request, kind: str, values: tuple[str, ...]) -> set[int]:
        vocabulary = request.snapshot.bundle.vocabulary
        return {vocabulary.code(kind, value) for value in values} - {0}


def cap_key(campaign_id: str, user_id: str) -> str:
    """The cache key of the number of impressions of a campaign that a viewer has seen."""
    return f"cap/{campaign_id}/{user_id}"


#: Called before a promoted video is placed; returns True and counts an impression if allowed.
Reserve = Callable[[Campaign, Request], bool]


class Budgets:
    """Counts impressions, so that no budget and no viewer's cap is exceeded.

    A process leases impressions from the store, a hundredth of the budget at a time (100 at most),
    so that writes are rare. The rest of a lease is lost when the process ends. A viewer's cap is
    counted in the cache. Without a count nothing is promoted.
    """

    def __init__(self, records: Records, cache: Cache) -> None:
        self._records = records
        self._cache = cache
        self._left: dict[str, int] = {}
        self._lock = threading.Lock()

    def reserve(self, campaign: Campaign, request: Request) -> bool:
        """Count one impression of the campaign for this viewer, if budget and cap allow it.

        Raises:
            Unavailable: the store did not answer; nothing may be promoted.
        """
        with self._lock:
            if self._take(campaign) <= 0:
                return False
            if not self._within_cap(campaign, request.user_id):
                return False
            self._left[campaign.campaign_id] -= 1
            return True

    def _take(self, campaign: Campaign) -> int:
        """The impressions left to this process, after leasing more if there are none."""
        name = campaign.campaign_id
        if self._left.get(name, 0) <= 0:
            wanted = max(1, min(100, campaign.budget // 100))
            spent = self._records.get(Table.SETTINGS, "spent", name)
            if spent is not None and spent.item.get("impressions", 0) >= campaign.budget:
                return 0
            taken = self._records.add(Table.SETTINGS, "spent", name, {"impressions": wanted})
            over = max(0, int(taken["impressions"]) - campaign.budget)
            self._left[name] = max(0, wanted - over)
        return self._left[name]

    def _within_cap(self, campaign: Campaign, user_id: str) -> bool:
        key = cap_key(campaign.campaign_id, user_id)
        seen = self._cache.add(key, seconds=3600 * campaign.cap_hours)
        return seen is not None and seen <= campaign.cap
