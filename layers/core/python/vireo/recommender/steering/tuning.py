"""Settings that change without a deployment: sizes, rules and ordering, also per variant."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vireo.fields import Country

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=1000)]


class Tuning(BaseModel):
    """The settings of one request. An experiment's variant overrides some of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    popularity_only: bool = False
    use_ranker: bool = True
    keep_filtered: Annotated[int, Field(ge=1, le=1000)] = 200
    keep_ranked: Annotated[int, Field(ge=1, le=1000)] = 200

    unknown_age: Annotated[int, Field(ge=0, le=120)] = 17
    region_rating: dict[Country, Annotated[int, Field(ge=0, le=21)]] = {}
    max_age_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    category_share: Share = 0.75
    channel_share: Share = 0.25
    fresh_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 7.0
    fresh_boost: Annotated[float, Field(ge=0, le=10)] = 0.1
    explore_slots: Annotated[int, Field(ge=0, le=10)] = 1
    promoted_positions: tuple[Annotated[int, Field(ge=0, le=100)], ...] = (2, 8)

    def highest_rating(self, age: int | None, country: str | None) -> int:
        """The highest age rating for a viewer of that age (None: unknown) in a country."""
        own = self.unknown_age if age is None else age
        return min(own, self.region_rating.get(country, own) if country else own)
