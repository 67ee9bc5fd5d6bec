"""The model of a video, validated once and shared by routes and importers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from vireo.fields import Country, Identifier, Language, Moment, Whole


class Status(StrEnum):
    """The visibility of a video."""

    PUBLIC = "public"
    PRIVATE = "private"
    DELETED = "deleted"


class VideoBody(BaseModel):
    """The metadata of a video. Every field but the title is optional."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    title: Annotated[str, Field(min_length=1, max_length=500)]
    category: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    channel_id: Identifier | None = None
    language: Language | None = None
    duration_seconds: Annotated[float, Field(gt=0, le=172_800, allow_inf_nan=False)] | None = None
    published_at: Moment | None = None
    tags: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], Field(max_length=50)
    ] = ()
    age_rating: Annotated[int, Field(ge=0, le=21, description="minimum age in years"), Whole] = 0
    status: Status = Status.PUBLIC
    countries_allowed: Annotated[tuple[Country, ...], Field(max_length=250)] | None = None
    countries_blocked: Annotated[tuple[Country, ...], Field(max_length=250)] = ()
    available_from: Moment | None = None
    available_until: Moment | None = None

    @model_validator(mode="after")
    def _window(self) -> Self:
        if (
            self.available_from is not None
            and self.available_until is not None
            and self.available_until <= self.available_from
        ):
            raise ValueError("available_until must be after available_from")
        return self


class Video(VideoBody):
    """A video of the catalogue."""

    video_id: Identifier
