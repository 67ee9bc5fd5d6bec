"""Authentication: the caller's tenant, client, scopes and user, read from a verified token only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from vireo.ports import Clock, Conflict, Home, Records, Refused, Table, walk

#: Scopes are ``vireo/<name>``, as issued by a Cognito resource server of that name.
RECOMMEND = "vireo/recommend"
CATALOGUE_READ, CATALOGUE_WRITE = "vireo/catalogue.read", "vireo/catalogue.write"
USERS_READ, USERS_WRITE = "vireo/users.read", "vireo/users.write"
EVENTS_WRITE = "vireo/events.write"
SCOPES = (RECOMMEND, CATALOGUE_READ, CATALOGUE_WRITE, USERS_READ, USERS_WRITE, EVENTS_WRITE)

_SYSTEM = "_system"
_CLIENT = "client"
#: Seconds for which a client's tenant is cached, and so until a removed client is refused.
_REMEMBERED = 300.0
#: Unix seconds of the year 10000, for which there are no dates any more.
_END = 253_402_300_800


class Unauthenticated(Exception):
    """The token is missing or invalid (401)."""


class Forbidden(Exception):
    """The token is valid but does not allow this (403)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The author of a call. Without a ``user_id``, a machine client acting for its tenant."""

    tenant: str
    client_id: str
    scopes: frozenset[str]
    user_id: str | None = None


class Identity:
    """Turns the claims of a verified token into a `Caller`."""

    def __init__(self, home: Home) -> None:
        ports = home.open(_SYSTEM)
        self._records: Records = ports.records
        self._clock: Clock = ports.clock
        self._lock = Lock()
        self._tenants: dict[str, tuple[str, float]] = {}

    def caller(self, claims: Mapping[str, Any]) -> Caller:
        """The caller that the claims of a Cognito access token describe.

        API Gateway and the laptop's gateway have verified the signature. Only access tokens are
        accepted: an id token says who somebody is, not what they may do. The subject of a token
        from the client credentials grant is the client itself; any other subject is an end user.

        Raises:
            Unauthenticated: the claims are not those of an access token that is still valid.
            Forbidden: the client belongs to no tenant.
        """
        client_id, subject = claims.get("client_id"), claims.get("sub")
        if claims.get("token_use") != "access" or not _text(client_id) or not _text(subject):
            raise Unauthenticated("not an access token")
        if not _moment(claims.get("exp")) > self._clock.now():
            raise Unauthenticated("the token has expired")
        scope = claims.get("scope") or ""
        if not isinstance(scope, str):
            raise Unauthenticated("scope is not a string")
        return Caller(
            tenant=self._tenant(str(client_id)),
            client_id=str(client_id),
            scopes=frozenset(scope.split()),
            user_id=_user(claims),
        )

    def _tenant(self, client_id: str) -> str:
        now = self._clock.monotonic()
        known = self._tenants.get(client_id)
        if known is not None and now < known[1]:
            return known[0]
        record = self._records.get(Table.REGISTRY, _CLIENT, client_id)
        if record is None:
            raise Forbidden("this client belongs to no tenant")
        tenant = str(record.item.get("tenant", _SYSTEM))
        if reserved(tenant):
            raise Forbidden("this client belongs to no tenant")
        with self._lock:
            self._tenants[client_id] = tenant, now + _REMEMBERED
        return tenant


def register_client(home: Home, client_id: str, tenant: str) -> None:
    """Assign a client to a tenant.

    Raises `vireo.ports.Refused` for an invalid or reserved tenant name, and `vireo.ports.Conflict`
    for a client of another tenant: its tokens are in that tenant's hands and must give no access to
    this one.
    """
    if reserved(tenant):
        raise Refused(f"not a tenant: {tenant!r}")
    home.open(tenant)
    records = home.open(_SYSTEM).records
    try:
        records.put(Table.REGISTRY, _CLIENT, client_id, {"tenant": tenant}, expect=0)
    except Conflict:
        record = records.get(Table.REGISTRY, _CLIENT, client_id)
        if record is None or record.item.get("tenant") != tenant:
            raise


def reserved(tenant: str) -> bool:
    """Tells whether a name is kept for data outside all tenants, and no tenant may have it."""
    return tenant.startswith("_")


def tenants(home: Home) -> set[str]:
    """Every tenant that has a client."""
    records = home.open(_SYSTEM).records
    clients = walk(records, Table.REGISTRY, _CLIENT)
    return {str(c.item["tenant"]) for c in clients if "tenant" in c.item}


def require(caller: Caller, scope: str, user_id: str | None = None) -> None:
    """Raise `Forbidden` unless the caller may make this call.

    Args:
        caller: the author of the call.
        scope: the scope that the token must have.
        user_id: the user that the call is about; an end user's token may name that user only.
    """
    if scope not in caller.scopes:
        raise Forbidden(f"the token lacks the scope {scope}")
    if user_id is not None and caller.user_id is not None and user_id != caller.user_id:
        raise Forbidden("an end user's token is good for that user only")


def possible_moment(value: object) -> bool:
    """Tells whether a claim is a number of seconds since 1970 that calendars have a date for."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < _END


def _user(claims: Mapping[str, Any]) -> str | None:
    """The end user: ``custom:user_id``, else ``username``, else ``sub``; None for a machine."""
    if claims["sub"] == claims["client_id"]:
        return None
    user = claims.get("custom:user_id") or claims.get("username") or claims.get("sub")
    if not _text(user):
        raise Unauthenticated("a user's token without a user")
    return str(user)


def _moment(value: object) -> float:
    """Unix seconds of a time claim: a number in the token, a date's text behind API Gateway."""
    try:
        seconds = float(str(value))
    except ValueError:
        pass
    else:
        if not possible_moment(seconds):
            raise Unauthenticated("the token's end is no possible date")
        return seconds
    try:
        date = datetime.strptime(str(value), "%a %b %d %H:%M:%S UTC %Y")
    except ValueError:
        raise Unauthenticated("a token without an end") from None
    return date.replace(tzinfo=UTC).timestamp()


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
