"""What is accepted can be stored and read again, and is the same then: every model that is kept."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from vireo.catalogue.models import Video
from vireo.events.models import EventRow, Exposure
from vireo.homes.items import pack, unpack
from vireo.recommender.steering.campaigns import Campaign
from vireo.recommender.steering.experiments import Experiment
from vireo.recommender.steering.tuning import Tuning
from vireo.viewers.profile import Profile
from vireo.viewers.viewer import EventType, Viewer

BORDERS = (
    "1969-12-31T23:59:59Z",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00+05:00",
    "1969-12-31T20:00:00-05:00",
    "2100-12-31T23:59:59.999999Z",
    "2100-12-31T23:59:59-12:00",
    "2101-01-01T05:00:00+14:00",
    "2101-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
)
zones = st.integers(-14 * 60, 14 * 60).map(
    lambda m: f"{'-' if m < 0 else '+'}{abs(m) // 60:02d}:{abs(m) % 60:02d}"
)
moments = st.sampled_from(BORDERS) | st.builds(
    lambda at, zone: at.isoformat() + zone, st.datetimes(), zones
)
ids = st.text("abcXYZ019-_.#~!", min_size=1, max_size=8)
countries = st.sampled_from(["DE", "FR", "US"])
languages = st.sampled_from(["de", "en-GB", "zh-Hant12"])
texts = st.text(min_size=1, max_size=20)
whole = st.integers(-1, 121) | st.integers(0, 21).map(float)
huge = st.integers(-(2**70), 2**70) | st.integers(1, 500)
#: Infinities and what is no number, which JSON has no word for, come from who calls us in Python.
numbers = st.floats() | st.integers(0, 200_000) | st.floats(0, 1) | st.floats(0, 720)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


tunings = some(
    popularity_only=st.booleans(),
    keep_filtered=st.integers(0, 1001),
    unknown_age=whole,
    region_rating=st.dictionaries(countries, whole, max_size=2),
    max_age_days=numbers,
    fresh_days=numbers,
    fresh_boost=numbers,
    category_share=numbers,
    promoted_positions=st.lists(st.integers(0, 100), max_size=3),
)
GIVEN: dict[type[BaseModel], tuple[dict[str, Any], st.SearchStrategy[dict[str, Any]]]] = {
    Video: (
        {"video_id": "v", "title": "t"},
        some(
            title=texts,
            category=texts,
            channel_id=ids,
            language=languages,
            duration_seconds=numbers,
            published_at=moments,
            tags=st.lists(texts, max_size=3),
            age_rating=whole,
            status=st.sampled_from(["public", "private", "deleted"]),
            countries_allowed=st.none() | st.lists(countries, max_size=2),
            countries_blocked=st.lists(countries, max_size=2),
            available_from=moments,
            available_until=moments,
        ),
    ),
    Profile: ({}, some(age=whole, country=countries, language=languages, joined_at=moments)),
    Campaign: (
        {"campaign_id": "c", "video_ids": ["v"], "budget": 1},
        some(
            budget=huge,
            cap=huge,
            cap_hours=numbers,
            priority=huge,
            starts=moments,
            ends=moments,
            min_age=whole,
            languages=st.lists(languages, max_size=2),
        ),
    ),
    Experiment: (
        {"name": "e"},
        st.fixed_dictionaries(
            {
                "variants": st.lists(
                    st.fixed_dictionaries({"name": ids, "weight": numbers, "tuning": tunings}),
                    min_size=1,
                    max_size=3,
                )
            }
        ),
    ),
    Tuning: ({}, tunings),
    EventRow: (
        {"event_id": "e", "user_id": "u", "video_id": "v", "type": "watch", "timestamp": 0},
        some(
            type=st.sampled_from([str(kind) for kind in EventType]),
            timestamp=moments | st.floats() | st.floats(0, 4.2e9) | st.integers(0, 5 * 10**9),
            watch_seconds=numbers,
            watch_fraction=numbers,
            position=st.integers(-1, 10**6 + 1) | st.integers(0, 99).map(float),
            country=countries,
        ),
    ),
    Exposure: (
        {
            "event_id": "r/exposure",
            "user_id": "u",
            "type": "exposure",
            "timestamp": 0,
            "request_id": "r",
            "model_version": "m",
            "experiments": {},
        },
        some(
            timestamp=moments | st.floats(0, 4.2e9),
            experiments=st.dictionaries(ids, ids, max_size=2),
        ),
    ),
}
EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


def accepted(model: type[BaseModel], fields: dict[str, Any]) -> BaseModel:
    try:
        return model.model_validate(GIVEN[model][0] | fields)
    except ValidationError:
        assume(False)
        raise AssertionError("unreachable") from None


@pytest.mark.parametrize("model", GIVEN, ids=lambda model: model.__name__)
def test_what_is_accepted_is_read_again_as_it_was(model: type[BaseModel]) -> None:
    @EXAMPLES
    @given(fields=GIVEN[model][1])
    def same(fields: dict[str, Any]) -> None:
        given_ = accepted(model, fields)
        stored = unpack(pack(given_.model_dump(mode="json")))
        again = model.model_validate(stored)
        assert again == given_
        assert again.model_dump(mode="json") == stored
        sent = orjson.loads(given_.model_dump_json())
        assert model.model_validate(sent) == given_

    same()


@EXAMPLES
@given(fields=GIVEN[Profile][1])
def test_a_profile_comes_back_from_a_viewers_record(fields: dict[str, Any]) -> None:
    profile = accepted(Profile, fields)
    assert isinstance(profile, Profile)
    assert Viewer.unpack(Viewer(profile).pack()).profile == profile


@pytest.mark.parametrize("moment", BORDERS)
def test_a_moment_is_judged_in_utc(moment: str) -> None:
    inside = moment in {BORDERS[1], BORDERS[3], BORDERS[4], BORDERS[6]}
    try:
        video = Video.model_validate(GIVEN[Video][0] | {"published_at": moment})
    except ValidationError:
        assert not inside
    else:
        assert inside
        assert Video.model_validate(video.model_dump(mode="json")) == video
