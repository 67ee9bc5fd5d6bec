"""Items as bytes, the same in both homes, and the limits of a write.

An item is stored as one packed value. DynamoDB's own attributes would cost 8–12 ms of deserialising
for a hundred items, and 7.7 ms instead of 1.9 for one item of 22 attributes, and would turn floats
into decimals. No query filters by an attribute inside an item.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from vireo.homes.names import checked_key
from vireo.ports import UNREADABLE, Delete, Item, Put, Refused

#: DynamoDB's limit of 400 KB, less 3 KB for keys and attribute names.
ITEM_BYTES = 397 * 1024
WRITES = 100
WRITE_BYTES = 4 * 1024 * 1024

log = logging.getLogger(__name__)

_HEADER = struct.Struct("<B?I")
_FORMAT = 1
#: Bytes follow the JSON, which refers to them as {_BYTES: [start, length]}.
_BYTES = "\0"


def pack(item: Item) -> bytes:
    """The item as bytes, from which `unpack` restores equal values of the same types.

    Raises `Refused` for anything but None, bool, 64-bit int, finite float, str, bytes, list and
    dict with str keys (subclasses are refused, too: a numpy float is not a float), and for an item
    over 397 KB.
    """
    blobs: list[bytes] = []
    json = orjson.dumps(_plain(item, blobs, "item"))
    packed = b"".join([_HEADER.pack(_FORMAT, bool(blobs), len(json)), json, *blobs])
    if len(packed) > ITEM_BYTES:
        raise Refused(f"an item has at most {ITEM_BYTES} bytes, not {len(packed)}")
    return packed


def stored(packed: bytes) -> Item:
    """The inverse of `pack`; for what cannot be read, an item that says so and nothing else.

    So one row costs one row of a page, and whoever reads it finds its fields missing.
    """
    try:
        return unpack(packed)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        log.exception("an item cannot be read")
        return {UNREADABLE: str(error)}


def unpack(packed: bytes) -> Item:
    """The inverse of `pack`. Raises ValueError for another format; others, if it is damaged."""
    version, has_bytes, length = _HEADER.unpack_from(packed)
    if version != _FORMAT:
        raise ValueError(f"an item of format {version}; this code knows {_FORMAT}")
    start = _HEADER.size + length
    item: Item = orjson.loads(packed[_HEADER.size : start])
    return _with_bytes(item, memoryview(packed)[start:]) if has_bytes else item


def checked_writes(writes: Sequence[Put | Delete]) -> dict[tuple[str, str, str], bytes]:
    """Packed items of a transaction by (table, key, sort). Raises `Refused` beyond its limits."""
    if len(writes) > WRITES:
        raise Refused(f"at most {WRITES} writes at once, not {len(writes)}")
    packed: dict[tuple[str, str, str], bytes] = {}
    seen = set()
    for write in writes:
        checked_key(write.key, write.sort)
        at = (write.table.value, write.key, write.sort)
        if at in seen:
            raise Refused(f"{at} is written twice")
        seen.add(at)
        if isinstance(write, Put):
            packed[at] = pack(write.item)
    if sum(map(len, packed.values())) > WRITE_BYTES:
        raise Refused(f"at most {WRITE_BYTES} bytes at once")
    return packed


def checked_amounts(amounts: Mapping[str, int | float]) -> dict[str, int | float]:
    """The amounts, if they can be added to fields. Raises `Refused`."""
    if not amounts:
        raise Refused("nothing to add")
    for name, amount in amounts.items():
        if type(amount) not in (int, float) or not math.isfinite(amount):
            raise Refused(f"{name}: not a finite number: {amount!r}")
    return dict(amounts)


def checked_number(name: str, value: Any) -> int | float:
    """The value of a field, if it is a number. Raises `Refused`."""
    if type(value) not in (int, float):
        raise Refused(f"{name} holds no number")
    number: int | float = value
    return number


def whole_second(expires: float | None) -> int | None:
    """A time of expiry in whole seconds, rounded up, as DynamoDB stores it."""
    return None if expires is None else math.ceil(expires)


def _plain(value: Any, blobs: list[bytes], path: str) -> Any:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        if not -(2**63) <= value < 2**64:
            raise Refused(f"{path}: an int has at most 64 bits")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise Refused(f"{path}: {value} is no number that a record can hold")
        return value
    if kind is bytes:
        start = sum(map(len, blobs))
        blobs.append(value)
        return {_BYTES: [start, len(value)]}
    if kind is list:
        return [_plain(v, blobs, f"{path}[{j}]") for j, v in enumerate(value)]
    if kind is dict:
        for name in value:
            if type(name) is not str or name.startswith(_BYTES):
                raise Refused(f"{path}: not a name of a field: {name!r}")
        return {name: _plain(v, blobs, f"{path}.{name}") for name, v in value.items()}
    raise Refused(f"{path}: a record cannot hold {kind.__module__}.{kind.__qualname__}")


def _with_bytes(value: Any, blobs: memoryview) -> Any:
    if type(value) is list:
        return [_with_bytes(v, blobs) for v in value]
    if type(value) is dict:
        if _BYTES in value:
            start, length = value[_BYTES]
            return bytes(blobs[start : start + length])
        for name, v in value.items():
            if type(v) in (dict, list):  # nothing else can hold bytes
                value[name] = _with_bytes(v, blobs)
    return value
