"""Validation of tenants, keys and blob names: no tenant can address or forge another's data."""

from __future__ import annotations

import re

from vireo.ports import TENANT, Refused

#: The tenant for data outside all tenants: the clients, and the tenant of each.
SYSTEM = "_system"

#: DynamoDB allows 2048 bytes for a partition key and 1024 for a sort key, prefixes included.
KEY_BYTES = 1024
SORT_BYTES = 1000
#: S3 allows 1024 bytes for an object's key, file systems 255 for one part of it.
BLOB_BYTES = 900
PART_BYTES = 200

_PART = re.compile(rf"[A-Za-z0-9_=.@+,-]{{1,{PART_BYTES}}}")
_EXECUTION = re.compile(r"[A-Za-z0-9_-]{1,47}")


def checked_tenant(tenant: str) -> str:
    """The tenant's name, if it is valid: of the form `TENANT`, or ``_system``. Raises `Refused`.

    A name never contains ``#``, ``/``, ``:`` or an inner ``_``, the separators after the tenant in
    a record's key, a blob's name, a cache key and an execution's name.
    """
    if tenant != SYSTEM and not re.fullmatch(TENANT, tenant):
        raise Refused(f"not a tenant: {tenant!r}")
    return tenant


def checked_key(key: str, sort: str) -> None:
    """Raise `Refused` unless a key has 1–1024 bytes and a sort key 0–1000, in valid UTF-8."""
    if not key:
        raise Refused("a record's key must not be empty")
    if _bytes(key) > KEY_BYTES:
        raise Refused(f"a record's key has at most {KEY_BYTES} bytes")
    if _bytes(sort) > SORT_BYTES:
        raise Refused(f"a record's sort key has at most {SORT_BYTES} bytes")


def checked_blob(name: str) -> str:
    """The blob's name, if it is valid: plain characters between ``/``. Raises `Refused`."""
    parts = name.split("/")
    if len(name) > BLOB_BYTES or not all(_PART.fullmatch(p) and p.strip(".") for p in parts):
        raise Refused(f"not a blob's name: {name!r}")
    return name


def checked_prefix(prefix: str) -> str:
    """A prefix of blobs' names, which may end anywhere in a name. Raises `Refused`."""
    if prefix:
        checked_blob(prefix.removesuffix("/"))
    return prefix


def execution_name(tenant: str, name: str) -> str:
    """The name of a tenant's execution, unique among all tenants; at most 80 characters."""
    if not _EXECUTION.fullmatch(name):
        raise Refused(f"not an execution's name: {name!r}")
    return f"{tenant}_{name}"


def sort_range(prefix: str, after: str | None, before: str | None) -> tuple[str, str | None]:
    """First sort key of a query (inclusive) and its end (exclusive, None: no end).

    The smallest string greater than ``after`` is ``after`` followed by NUL.
    """
    first = prefix if after is None else max(prefix, after + "\0")
    ends = [e for e in (_successor(prefix), before) if e is not None]
    return first, min(ends, default=None)


def _successor(prefix: str) -> str | None:
    """The smallest string greater than all that start with ``prefix``; None if there is none."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)


def _bytes(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise Refused(f"not valid UTF-8: {text!r}") from None
