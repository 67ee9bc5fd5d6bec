"""The routes of the recommender: each validates, calls one function, and answers a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body, Path, Query

from vireo.api import answer, documented, scope
from vireo.catalogue.models import Video, VideoBody
from vireo.fields import Country, Identifier, Language
from vireo.identity import CATALOGUE_READ, CATALOGUE_WRITE, RECOMMEND, USERS_READ, USERS_WRITE
from vireo.recommender.models import (
    BatchStored,
    Context,
    Erased,
    Health,
    Limit,
    Listing,
    Recommendations,
    RecommendRequest,
    User,
    VideoBatch,
)
from vireo.recommender.service import Recommender
from vireo.viewers.profile import Profile

#: The recommender of the caller's tenant, if the caller may ask about that user.
Service = Callable[[str | None], Recommender]

VideoId = Annotated[Identifier, Path()]
UserId = Annotated[Identifier, Path()]
Size = Annotated[Limit, Query()]
Age = Annotated[int | None, Query(ge=0, le=120)]
Where = Annotated[Country | None, Query()]
Spoken = Annotated[Language | None, Query()]
Category = Annotated[str | None, Query(min_length=1, max_length=64)]


def routes(service: Service, request_id: Callable[[], str], health: Callable[[], Health]) -> Router:
    """All routes of spec section 1."""
    router = Router()

    @router.post(
        "/v1/recommendations",
        summary="Rank videos for one viewer",
        tags=["recommendations"],
        responses=documented(Recommendations),
    )
    @scope(RECOMMEND)
    def recommend(body: Annotated[RecommendRequest, Body()]) -> Response[str]:
        return answer(service(body.user_id).recommend(body, request_id()))

    @router.get(
        "/v1/videos/<video_id>/similar",
        summary="Videos like this one",
        tags=["recommendations"],
        responses=documented(Listing, 404),
    )
    @scope(RECOMMEND)
    def similar(
        video_id: VideoId,
        limit: Size = 20,
        country: Where = None,
        language: Spoken = None,
        age: Age = None,
    ) -> Response[str]:
        context = Context(country=country, language=language)
        found = service(None).similar(video_id, limit, context, age, request_id())
        return answer(found)

    @router.get(
        "/v1/trending",
        summary="What many watch now",
        tags=["recommendations"],
        responses=documented(Listing),
    )
    @scope(RECOMMEND)
    def trending(
        limit: Size = 20,
        country: Where = None,
        language: Spoken = None,
        age: Age = None,
        category: Category = None,
    ) -> Response[str]:
        context = Context(country=country, language=language)
        return answer(service(None).trending(limit, context, age, category, request_id()))

    _catalogue(router, service)
    _users(router, service)

    @router.get(
        "/health",
        summary="Whether there is a model",
        tags=["operation"],
        responses=documented(Health, token=False),
        security=[{}],
    )
    @scope(None)
    def healthy() -> Response[str]:
        return answer(health())

    return router


def _catalogue(router: Router, service: Service) -> None:
    @router.put(
        "/v1/videos/<video_id>",
        summary="Add or replace a video",
        tags=["catalogue"],
        responses=documented(Video),
    )
    @scope(CATALOGUE_WRITE)
    def put_video(video_id: VideoId, body: Annotated[VideoBody, Body()]) -> Response[str]:
        return answer(service(None).catalogue.put(video_id, body))

    @router.get(
        "/v1/videos/<video_id>",
        summary="A video of the catalogue",
        tags=["catalogue"],
        responses=documented(Video, 404),
    )
    @scope(CATALOGUE_READ)
    def get_video(video_id: VideoId) -> Response[str]:
        return answer(service(None).catalogue.get(video_id))

    @router.delete(
        "/v1/videos/<video_id>",
        summary="Take a video out of the catalogue and of every answer",
        tags=["catalogue"],
        responses=documented(Erased, 404),
    )
    @scope(CATALOGUE_WRITE)
    def delete_video(video_id: VideoId) -> Response[str]:
        service(None).catalogue.delete(video_id)
        return answer(Erased())

    @router.post(
        "/v1/videos/batch",
        summary="Add or replace up to 500 videos",
        tags=["catalogue"],
        responses=documented(BatchStored),
    )
    @scope(CATALOGUE_WRITE)
    def put_videos(body: Annotated[VideoBatch, Body()]) -> Response[str]:
        return answer(BatchStored(stored=service(None).catalogue.put_all(body.videos)))


def _users(router: Router, service: Service) -> None:
    @router.put(
        "/v1/users/<user_id>",
        summary="Set a viewer's profile",
        tags=["users"],
        responses=documented(User, 409),
    )
    @scope(USERS_WRITE)
    def put_user(user_id: UserId, body: Annotated[Profile, Body()]) -> Response[str]:
        return answer(service(user_id).viewers.put_profile(user_id, body))

    @router.get(
        "/v1/users/<user_id>",
        summary="A viewer's profile, and how much is known of them",
        tags=["users"],
        responses=documented(User, 404),
    )
    @scope(USERS_READ)
    def get_user(user_id: UserId) -> Response[str]:
        return answer(service(user_id).viewers.get(user_id))

    @router.delete(
        "/v1/users/<user_id>",
        summary="Erase a person everywhere",
        tags=["users"],
        responses=documented(Erased),
    )
    @scope(USERS_WRITE)
    def delete_user(user_id: UserId) -> Response[str]:
        service(user_id).viewers.erase(user_id)
        return answer(Erased())
