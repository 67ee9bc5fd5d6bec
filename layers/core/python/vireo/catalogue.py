"""What a video and a viewer's profile are: validated once, the same for routes and importers."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

#: 1–128 visible characters without blanks: what a URL path and a log line take unharmed.
Identifier = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-.0-~]+$")]
#: ISO 3166-1 alpha-2.
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$", examples=["DE"])]
#: BCP 47, the language and at most one subtag.
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?$", examples=["en"])]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: For an int in a body: JSON has one kind of number, in which 5.0 is 5.
Whole = BeforeValidator(_whole)


def _in_range(moment: datetime) -> datetime:
    if not 1970 <= moment.year <= 2100:
        raise ValueError("must lie between 1970 and 2100")
    return moment.astimezone(UTC)


#: A moment with its zone (ISO 8601), kept in UTC.
Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]


class Status(StrEnum):
    """Whether a video may be shown at all."""

    PUBLIC = "public"
    PRIVATE = "private"
    DELETED = "deleted"


class VideoBody(BaseModel):
    """What is known of a video; every field but the title may be left out."""

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


class Profile(BaseModel):
    """What a viewer said of themselves; every field may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    age: Annotated[int, Field(ge=0, le=120), Whole] | None = None
    country: Country | None = None
    language: Language | None = None
    joined_at: Moment | None = None
