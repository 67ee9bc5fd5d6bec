"""Request and response models of the recommender's routes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vireo.catalogue.models import Video
from vireo.fields import Country, Identifier, Language, Moment, Whole
from vireo.viewers.profile import Profile

Limit = Annotated[int, Field(ge=1, le=100, description="how many videos to answer at most"), Whole]


class Model(BaseModel):
    """The base of the models: frozen, without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Context(Model):
    """The viewer's current device, country and language; they override the profile."""

    device: Annotated[Identifier | None, Field(examples=["phone"])] = None
    country: Country | None = None
    language: Language | None = None


class SessionWatch(Model):
    """A video watched in this session, which the event stream may not have delivered yet."""

    video_id: Identifier
    at: Moment | None = None
    seconds: Annotated[float, Field(ge=0, le=172_800, allow_inf_nan=False)] | None = None
    fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None


class RecommendRequest(Model):
    """A request for a viewer's recommendations, with events that may not be stored yet."""

    user_id: Identifier
    limit: Limit = 20
    context: Context = Context()
    session: Annotated[
        tuple[SessionWatch, ...], Field(max_length=100, description="oldest first")
    ] = ()
    exclude: Annotated[tuple[Identifier, ...], Field(max_length=500)] = ()
    debug: bool = False


class Item(Model):
    """One video of an answer."""

    video_id: Identifier
    title: str
    score: float | None  #: None if it was not scored
    slot: Literal["organic", "promoted", "explore"]
    reason: Annotated[str, Field(examples=["Because you watched Alpine lakes"])]
    campaign_id: Identifier | None = None


class StageReport(Model):
    """The outcome of one stage."""

    stage: str
    milliseconds: float
    kept: Annotated[int, Field(description="how many went on: the best, up to the stage's limit")]
    removed: Annotated[
        dict[str, int],
        Field(description="by reason; what the search had left out already is in no count"),
    ]


class Recommendations(Model):
    """The recommended videos, best first."""

    request_id: str
    user_id: Identifier
    model_version: str
    items: tuple[Item, ...]
    experiments: dict[str, str] = {}
    degraded: Annotated[
        tuple[str, ...], Field(description="what this answer had to do without")
    ] = ()
    stages: tuple[StageReport, ...] | None = None


class Listing(Model):
    """Videos that are not personal recommendations, best first."""

    request_id: str
    model_version: str
    items: tuple[Item, ...]
    degraded: tuple[str, ...] = ()


class VideoBatch(Model):
    """Complete videos to be stored in one call."""

    videos: Annotated[tuple[Video, ...], Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({v.video_id for v in self.videos}) < len(self.videos):
            raise ValueError("a video_id comes twice")
        return self


class BatchStored(Model):
    """The number of stored videos: always all of the batch."""

    stored: int


class User(Model):
    """A viewer's profile, and counts of their activity."""

    user_id: Identifier
    profile: Profile
    watched: int
    likes: int
    last_active: Moment | None = None


class Deleted(Model):
    """It is gone."""

    deleted: Literal[True] = True


class Erased(Deleted):
    """A person is gone, and how much there was to erase: nothing of someone unknown, or again."""

    record: Annotated[bool, Field(description="whether there was a record of the viewer")]
    events: Annotated[
        int | None,
        Field(ge=0, description="how many events it knew; null where it could not be read"),
    ]
    dead_letters: Annotated[int, Field(ge=0, description="events that had been put aside")]
    campaigns: Annotated[int, Field(ge=0, description="counts of campaigns that they had seen")]


class Health(Model):
    """The gateway's own answer that it is there. Whether models serve, requests tell."""

    status: Literal["ok"] = "ok"
