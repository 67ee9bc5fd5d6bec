"""Request and response models of the recommender's routes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from vireo.catalogue.models import Video
from vireo.fields import Country, Identifier, Language, Moment, Whole
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import EventType

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


class KeptVideo(Model):
    """A video in what is kept of a viewer, which knows it by the hash of its id."""

    video_id: Annotated[
        str | None, Field(description="null where no video of that key is known", examples=["v1"])
    ]
    key: Annotated[
        str, Field(description="the 64-bit hash of the id", examples=["5d8f3c0a91b2e746"])
    ]


class KeptWatch(KeptVideo):
    """A video of the history that models read, and when it entered it."""

    at: Annotated[AwareDatetime | None, Field(description="null where what is kept is no date")]


class KeptEvent(KeptWatch):
    """An event that is kept one by one, because it is one of the latest."""

    type: EventType
    seconds: float | None
    fraction: float | None


class KeptView(Model):
    """A view that counted in what is hot: of a video, in six hours from a moment on."""

    video_id: Annotated[str | None, Field(description="null where it cannot be told")]
    key_end: Annotated[str, Field(description="the last 32 bits of the hash of the video's id")]
    place_end: Annotated[
        str, Field(description="the last 32 bits of the hash of its event's place on the stream")
    ]
    since: AwareDatetime | None


class KeptCounts(Model):
    """Counts of all events of a viewer."""

    watches: int
    seconds: Annotated[float, Field(description="watched in all")]
    impressions: int
    clicks: int
    likes: Annotated[int, Field(description="likes, comments and shares")]
    skips: Annotated[int, Field(description="skips and dislikes")]


class KeptLetter(Model):
    """An event that could not be read, and was put aside."""

    name: Annotated[str, Field(description="of the file, within the tenant's")]
    arrived: AwareDatetime | None
    reason: str
    payload: Annotated[str | None, Field(description="as it was sent, where that is short text")]
    payload_base64: Annotated[str | None, Field(description="as it was sent, otherwise")]


class KeptUnreadable(Model):
    """Something that is kept and cannot be read; it can be erased."""

    where: Annotated[str, Field(examples=["viewers/now"])]
    why: str


class KeptViewer(Model):
    """Everything in the rows of a viewer."""

    user_id: Identifier
    rows: Annotated[int, Field(description="rows of the viewer; 0: nothing is kept of them there")]
    profile: Profile | None
    counts: KeptCounts | None
    history: tuple[KeptWatch, ...]
    events: Annotated[
        tuple[KeptEvent, ...],
        Field(description="the latest, one by one; they are part of the history and the counts"),
    ]
    views: tuple[KeptView, ...]
    event_keys: Annotated[
        tuple[str, ...], Field(description="hashes of ids of the latest events, to tell repeats by")
    ]
    position: Annotated[str | None, Field(description="the latest event's place in the stream")]
    watched: Annotated[
        tuple[KeptVideo, ...], Field(description="never to be shown again, oldest first")
    ]
    unreadable: tuple[KeptUnreadable, ...]


class Export(KeptViewer):
    """Everything that can be found by a person's id, which is what erasing them removes."""

    exported_at: AwareDatetime
    erased_at: Annotated[
        AwareDatetime | None,
        Field(description="when they were last erased: the note of it stays, by a hash of the id"),
    ]
    campaigns: Annotated[
        dict[str, int], Field(description="how often they were shown a campaign lately, by its id")
    ]
    experiments: Annotated[
        dict[str, str],
        Field(description="the variant of each experiment, which follows from the id; not kept"),
    ]
    dead_letters: tuple[KeptLetter, ...]
    next: Annotated[
        int | None,
        Field(description="what to give as start for more of watched and dead_letters; null: all"),
    ]
    without: Annotated[tuple[str, ...], Field(description="what is kept and not in here, and why")]


class Health(Model):
    """The gateway's own answer that it is there. Whether models serve, requests tell."""

    status: Literal["ok"] = "ok"
