"""The recommender's routes: each validates, calls one function, and returns a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.openapi.params import Body, Path, Query

from vireo.api import answer, route
from vireo.catalogue.models import Video, VideoBody
from vireo.fields import Country, Identifier, Language
from vireo.identity import CATALOGUE_READ, CATALOGUE_WRITE, RECOMMEND, USERS_READ, USERS_WRITE
from vireo.recommender.models import (
    BatchStored,
    Context,
    Deleted,
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

#: Returns the recommender of the caller's tenant, if the caller may ask about that user.
Service = Callable[[str | None], Recommender]

VideoId = Annotated[Identifier, Path()]
UserId = Annotated[Identifier, Path()]
Size = Annotated[Limit, Query()]
Age = Annotated[int | None, Query(ge=0, le=120)]
Where = Annotated[Country | None, Query()]
Spoken = Annotated[Language | None, Query()]
Category = Annotated[str | None, Query(min_length=1, max_length=64)]


def routes(service: Service, request_id: Callable[[], str]) -> Router:
    """Builds the routes of recommendations, the catalogue, users and health."""
    router = Router()

    @route(
        router,
        "POST /v1/recommendations",
        "Rank videos for one viewer",
        tag="recommendations",
        scope=RECOMMEND,
        model=Recommendations,
    )
    def recommend(body: Annotated[RecommendRequest, Body()]) -> Response[str]:
        return answer(service(body.user_id).recommend(body, request_id()))

    @route(
        router,
        "GET /v1/videos/<video_id>/similar",
        "Videos like this one",
        tag="recommendations",
        scope=RECOMMEND,
        model=Listing,
        errors=(404,),
    )
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

    @route(
        router,
        "GET /v1/trending",
        "What many watch now",
        tag="recommendations",
        scope=RECOMMEND,
        model=Listing,
    )
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

    @route(
        router,
        "GET /health",
        "Whether the API is there",
        tag="operation",
        scope=None,
        model=Health,
    )
    def healthy() -> Response[str]:
        """For whoever calls the function itself: the gateway in front of it answers alone."""
        return answer(Health())

    return router


def _catalogue(router: Router, service: Service) -> None:
    @route(
        router,
        "PUT /v1/videos/<video_id>",
        "Add or replace a video",
        tag="catalogue",
        scope=CATALOGUE_WRITE,
        model=Video,
    )
    def put_video(video_id: VideoId, body: Annotated[VideoBody, Body()]) -> Response[str]:
        return answer(service(None).catalogue.put(video_id, body))

    @route(
        router,
        "GET /v1/videos/<video_id>",
        "A video of the catalogue",
        tag="catalogue",
        scope=CATALOGUE_READ,
        model=Video,
        errors=(404,),
    )
    def get_video(video_id: VideoId) -> Response[str]:
        return answer(service(None).catalogue.get(video_id))

    @route(
        router,
        "DELETE /v1/videos/<video_id>",
        "Take a video out of the catalogue and of every answer",
        tag="catalogue",
        scope=CATALOGUE_WRITE,
        model=Deleted,
        errors=(404,),
    )
    def delete_video(video_id: VideoId) -> Response[str]:
        service(None).catalogue.delete(video_id)
        return answer(Deleted())

    @route(
        router,
        "POST /v1/videos/batch",
        "Add or replace up to 500 videos",
        tag="catalogue",
        scope=CATALOGUE_WRITE,
        model=BatchStored,
    )
    def put_videos(body: Annotated[VideoBatch, Body()]) -> Response[str]:
        return answer(BatchStored(stored=service(None).catalogue.put_all(body.videos)))


def _users(router: Router, service: Service) -> None:
    @route(
        router,
        "PUT /v1/users/<user_id>",
        "Set a viewer's profile",
        tag="users",
        scope=USERS_WRITE,
        model=User,
        errors=(404, 409),
    )
    def put_user(user_id: UserId, body: Annotated[Profile, Body()]) -> Response[str]:
        return answer(service(user_id).viewers.put_profile(user_id, body))

    @route(
        router,
        "GET /v1/users/<user_id>",
        "A viewer's profile, and how much is known of them",
        tag="users",
        scope=USERS_READ,
        model=User,
        errors=(404,),
    )
    def get_user(user_id: UserId) -> Response[str]:
        return answer(service(user_id).viewers.get(user_id))

    @route(
        router,
        "DELETE /v1/users/<user_id>",
        "Erase a person everywhere",
        tag="users",
        scope=USERS_WRITE,
        model=Erased,
    )
    def delete_user(user_id: UserId) -> Response[str]:
        return answer(service(user_id).viewers.erase(user_id))
