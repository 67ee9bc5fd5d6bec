"""The base of every HTTP service: authorisation, one error format and OpenAPI documentation.

Routes are Powertools routers. The same objects run in Lambda, one call at a time, and behind the
laptop's gateway, in threads.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.middlewares import NextMiddleware
from aws_lambda_powertools.event_handler.middlewares.openapi_validation import (
    OpenAPIRequestValidationMiddleware,
)
from aws_lambda_powertools.event_handler.openapi.exceptions import (
    RequestUnsupportedContentType,
    RequestValidationError,
)
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from pydantic import BaseModel, ValidationError

import vireo
from vireo.identity import Caller, Identity, Unauthenticated, require
from vireo.parameters import number_errors, path_values, query_errors
from vireo.ports import Home
from vireo.problems import (
    MEANINGS,
    REASONS,
    ApiError,
    ErrorBody,
    FieldError,
    Meanings,
    Problem,
    TooMany,
)

log = logging.getLogger(__name__)
F = TypeVar("F", bound=Callable[..., Any])
#: The name of the security scheme in OpenAPI documents.
SCHEME = "token"


class Operation(NamedTuple):
    """A method of a path; ``public``: it asks for no token."""

    method: str
    path: str  #: ``/v1/videos/{video_id}``
    public: bool


def route(
    router: Router,
    rule: str,
    summary: str,
    *,
    tag: str,
    scope: str | None,
    model: type[BaseModel],
    errors: Sequence[int] = (),
) -> Callable[[F], F]:
    """Registers a function in a router, with its scope and its documentation.

    Args:
        router: of the service.
        rule: method and path, ``"GET /v1/videos/<video_id>"``.
        summary: a line for the documentation.
        tag: the group in the documentation, by which a deployment finds the function to call.
        scope: the scope that the token must have; None opens the route to everybody.
        model: the body of a successful response.
        errors: statuses besides those that every route may return.
    """
    method, path = rule.split()

    def put(function: F) -> F:
        # Any function takes attributes; its type has no way to say so.
        function.scope = scope  # type: ignore[attr-defined]
        registered: Callable[[F], F] = router.route(
            path,
            method=method,
            summary=summary,
            tags=[tag],
            responses=_documented(model, errors, token=scope is not None),
            security=[{}] if scope is None else None,
        )
        return registered(function)

    return put


def _documented(model: type[BaseModel], errors: Sequence[int], *, token: bool) -> dict[int, Any]:
    """A route's ``responses``: 200 with the model, its errors, and those of every route."""
    always = {400, 415, 422, 500, 503} | ({401, 403} if token else set())
    found = {
        status: {
            "description": REASONS[status],
            "content": {"application/json": {"model": ErrorBody}},
        }
        for status in sorted({*always, *errors})
    }
    ok = {"description": "Success", "content": {"application/json": {"model": model}}}
    return {200: ok, **found}


class _Answer(Response[str]):
    """An answer that tells us, too, what it does without."""

    degraded: tuple[str, ...] = ()


def answer(model: BaseModel, status: int = 200) -> Response[str]:
    """The response of a route, serialised once, by pydantic."""
    made = _Answer(status, "application/json", model.model_dump_json())
    made.degraded = tuple(getattr(model, "degraded", ()))
    return made


class _AuthorisedValidation(OpenAPIRequestValidationMiddleware):
    """Validation after authorisation: an unauthorised caller learns nothing of the schema."""

    def handler(self, app: Any, next_middleware: NextMiddleware) -> Response[Any]:
        function = app.context["_route"].func
        if not hasattr(function, "scope"):  # what answers unknown paths
            return super().handler(app, next_middleware)
        app.authorise(function.scope)
        given = app.read_parameters()

        def strictly(app: Any) -> Response[Any]:
            """Go on, if no value was taken that a body would refuse."""
            if loose := [*number_errors(given, app.context["_route_args"])]:
                raise RequestValidationError(loose)
            return next_middleware(app)

        # Powertools asks for a protocol with a name; a function has one.
        return super().handler(app, strictly)  # type: ignore[arg-type]

    def _get_body(self, app: Any) -> Any:
        """The validated body: JSON only, and strictly typed (``"5"`` is no number, 0 is not false).

        Powertools would also read forms, and coerce values where it can. It uses the validated
        model that this returns as it is.
        """
        kind = app.current_event.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in {"", "application/json"}:
            raise RequestUnsupportedContentType(f"a body of type {kind}", errors=[])
        (body,) = app.context["_route"].dependant.body_params
        try:
            text = app.current_event.decoded_body
            return body._type_adapter.validate_json(text, strict=True) if text else None
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            located = [{**one, "loc": ("body", *one["loc"])} for one in found]
            raise RequestValidationError(located) from error
        except ValueError as error:  # not base64, or not text
            problem = {"type": "json_invalid", "loc": ("body",), "msg": str(error)}
            raise RequestValidationError([problem]) from error


class _State(threading.local):
    """The attributes in which Powertools keeps the current request, one set for each thread."""

    def __init__(self) -> None:
        self.current_event: Any = None
        self.lambda_context: Any = None
        self.context: dict[str, Any] = {}
        self.processed_stack_frames: list[str] = []


def _own(name: str) -> Any:
    """A property of the resolver whose value is kept per thread."""

    def read(self: Any) -> Any:
        return getattr(self.of_thread, name)

    def write(self: Any, value: Any) -> None:
        setattr(self.of_thread, name, value)

    return property(read, write)


class Api(APIGatewayRestResolver):
    """A REST resolver that authorises first, answers errors in one format, and is thread-safe.

    Powertools keeps the current event in class attributes, which two threads would share. Here
    every thread has its own, as in Powertools' own local resolver.
    """

    current_event = _own("current_event")
    lambda_context = _own("lambda_context")
    context = _own("context")
    processed_stack_frames = _own("processed_stack_frames")

    def __init__(self, home: Home, meanings: Meanings, name: str = "api") -> None:
        self._name = name
        self._meter = home.open("_system").meter
        self.of_thread = _State()
        super().__init__(enable_validation=True)
        # Its constructor is Powertools' own, which has no annotations.
        self._request_validation_middleware = _AuthorisedValidation()  # type: ignore[no-untyped-call]
        self._identity = Identity(home)
        self._means = {**MEANINGS, **meanings}
        self.exception_handler(Exception)(self._explain)
        self.not_found(self._nothing_there)

    def get_openapi_schema(self, **options: Any) -> Any:
        """The OpenAPI document of all routes. The modules that only it needs are imported here."""
        # Imported here: it takes nearly as long as numpy, and no request needs it.
        from aws_lambda_powertools.event_handler.openapi.models import HTTPBearer  # noqa: PLC0415

        self.configure_openapi(
            title="Vireo",
            version=vireo.__version__,
            description="What should this viewer watch next?",
            security_schemes={SCHEME: HTTPBearer(bearerFormat="JWT")},
            security=[{SCHEME: []}],
        )
        return super().get_openapi_schema(**options)

    def include_router(self, router: Router, prefix: str | None = None) -> None:
        """Add routes, and name in the document the scope that each of them requires."""
        super().include_router(router, prefix)
        for route in [*self._static_routes, *self._dynamic_routes]:
            name = getattr(route.func, "scope", None)
            if name is not None:
                route.security = [{SCHEME: [name]}]

    def operations(self) -> list[Operation]:
        """All operations, as the gateway in front has to know them."""
        return [
            Operation(
                str(route.method), route.openapi_path, getattr(route.func, "scope", "") is None
            )
            for route in [*self._static_routes, *self._dynamic_routes]
        ]

    def resolve(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer an event of API Gateway (REST, payload format 1.0)."""
        self.current_event = APIGatewayProxyEvent(dict(event))
        self.lambda_context = context
        failed, degraded = True, False
        try:
            found = self._resolve()
            built = self._build_response(found)
            failed = found.response.status_code >= 500
            degraded = bool(getattr(found.response, "degraded", ()))
            return built
        finally:
            self.context.clear()
            self._judge(getattr(context, "function_version", ""), failed, degraded)

    def _judge(self, version: str, failed: bool, degraded: bool) -> None:
        """Count an answer for the version of the function that gave it; a laptop has none.

        A handled fault is no error of Lambda, so this is what takes a bad version back. Alarms
        cannot name a version that does not exist yet; they look at all last digits.
        """
        if version.isdecimal():
            digit = f"{self._name} {version[-1]}"
            self._meter.observe("AnswerFailed", float(failed), "None", version=digit)
            self._meter.observe("AnswerDegraded", float(degraded), "None", version=digit)

    def authorise(self, name: str | None) -> None:
        """Identify the caller and require the scope ``name`` of their token; None requires nothing.

        Raises:
            Unauthenticated: there is no valid token.
            Forbidden: the token lacks the scope, or its client belongs to no tenant.
        """
        if name is None:
            return
        authorizer = self.current_event.raw_event["requestContext"].get("authorizer") or {}
        claims = authorizer.get("claims")
        if not claims:
            raise Unauthenticated("no token")
        caller = self._identity.caller(claims)
        require(caller, name)
        self.context.update(caller=caller, scope=name)

    def read_parameters(self) -> Mapping[str, Sequence[str]]:
        """Decode the path's parameters, and return the query's values by name.

        Raises:
            RequestValidationError: an id that cannot be decoded; a query parameter that is unknown,
                repeated or empty.
        """
        query = self.context["_route"].dependant.query_params
        given = self.current_event.raw_event.get("multiValueQueryStringParameters") or {}
        values, errors = path_values(self.context["_route_args"])
        errors += query_errors(given, {parameter.alias for parameter in query})
        if errors:
            raise RequestValidationError(errors)
        self.context["_route_args"] = values
        return given

    def caller(self, user_id: str | None = None) -> Caller:
        """The authorised caller. Raises `Forbidden` if they may not ask about ``user_id``."""
        caller: Caller = self.context["caller"]
        require(caller, self.context["scope"], user_id)
        return caller

    @property
    def request_id(self) -> str:
        """The request's id, the same in the gateway, in logs and in answers."""
        return str(self.current_event.raw_event["requestContext"].get("requestId", ""))

    def _explain(self, error: Exception) -> Response[str]:
        """The error response for an exception."""
        if isinstance(error, RequestValidationError):
            return self._invalid(error)
        if isinstance(error, RequestUnsupportedContentType):
            return self._error(415, "unsupported_media_type", REASONS[415])
        if isinstance(error, ApiError):
            refused = self._error(error.status, error.code, str(error))
            if isinstance(error, TooMany):
                refused.headers["Retry-After"] = str(math.ceil(error.seconds))
            return refused
        for kind in type(error).__mro__:
            if kind in self._means:
                status, code = self._means[kind]
                return self._error(status, code, str(error) or REASONS[status])
        log.exception("unexpected error in %s", self.request_id, exc_info=error)
        return self._error(500, "internal_error", REASONS[500])

    def _invalid(self, error: RequestValidationError) -> Response[str]:
        errors = error.errors()
        if any(e["type"] == "json_invalid" for e in errors):
            return self._error(400, "invalid_json", "The body is not valid JSON")
        fields = [
            FieldError(field=".".join(str(part) for part in e["loc"]), expected=e["msg"])
            for e in errors[:50]
        ]
        return self._error(422, "invalid_request", REASONS[422], fields)

    def _nothing_there(self, _: NotFoundError) -> Response[str]:
        path = self._remove_prefix(self.current_event.path)
        found = [r for r in self._static_routes if r.rule.match(path)]
        found = found or [r for r in self._dynamic_routes if r.rule.match(path)]
        methods = sorted({r.method for r in found})
        if not methods:
            return self._error(404, "not_found", REASONS[404])
        allowed = ", ".join(methods)
        refused = self._error(405, "method_not_allowed", f"This path takes {allowed}")
        refused.headers["Allow"] = allowed
        return refused

    def _error(
        self, status: int, code: str, message: str, fields: list[FieldError] | None = None
    ) -> Response[str]:
        problem = Problem(code=code, message=message, fields=fields or [])
        return answer(ErrorBody(error=problem, request_id=self.request_id), status)

    @staticmethod
    def _compile_regex(rule: str, base_regex: str = "") -> re.Pattern[str]:
        """The pattern of a path, whose parameters match anything but a slash, like our ids."""
        pattern = re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", rule)
        return re.compile(f"^{pattern}/*$")
