"""The profile of a viewer, as they describe themselves."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
)

from vireo.fields import Country, Language, Moment, Whole


class Profile(BaseModel):
    """The profile that a viewer gave. Every field is optional."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    age: Annotated[int, Field(ge=0, le=120), Whole] | None = None
    country: Country | None = None
    language: Language | None = None
    joined_at: Moment | None = None
