"""Parameters in a URL: ids in the path, decoded once, and queries that are as strict as bodies.

API Gateway hands a path on as it was sent, percent-encoded, and the values of a query decoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

#: An error as pydantic has them: ``type``, ``loc`` and ``msg``.
Error = dict[str, Any]


def decoded(part: str) -> str:
    """Returns the text that one part of a URL's path stands for (RFC 3986, section 2.1).

    A plus is a plus here, and what an escape stands for is not decoded again.

    Raises:
        ValueError: a ``%`` without two hexadecimal digits behind it, or not UTF-8.
    """
    if _NO_ESCAPE.search(part):
        raise ValueError("A % must have two hexadecimal digits behind it")
    octets = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), part.encode())
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise ValueError("What is escaped must be UTF-8") from None


def path_values(parts: Mapping[str, str]) -> tuple[dict[str, str], list[Error]]:
    """Decodes the parameters of a path, and returns the errors of those that cannot be."""
    values, errors = {}, []
    for name, part in parts.items():
        try:
            values[name] = decoded(part)
        except ValueError as error:
            errors.append(_error("path", name, str(error)))
    return values, errors


def query_errors(given: Mapping[str, Sequence[str]], known: Collection[str]) -> list[Error]:
    """Returns what is wrong with a query whatever its values mean: names, repeats, and nothing."""
    return [
        _error("query", name, problem)
        for name, values in sorted(given.items())
        if (problem := _problem(name, values, known)) is not None
    ]


def number_errors(given: Mapping[str, Sequence[str]], values: Mapping[str, Any]) -> Iterator[Error]:
    """Yields an error for every number that was not written as JSON has it: 5, not 5.0 or +5."""
    for name, (text, *_) in sorted(given.items()):
        value = values.get(name)
        if isinstance(value, int) and json.dumps(value) != text:
            yield _error("query", name, f"Input should be written as {json.dumps(value)}")


def _problem(name: str, values: Sequence[str], known: Collection[str]) -> str | None:
    if name not in known:
        return "No such parameter"
    if len(values) > 1:
        return "Given more than once"
    return None if values[0] else "Must not be empty"


def _error(where: str, name: str, message: str) -> Error:
    return {"type": "value_error", "loc": (where, name), "msg": message}
