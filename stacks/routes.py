"""The routes in the OpenAPI document, from which the API in AWS is built."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stacks.packages import ROOT

DOCUMENT = ROOT / "docs" / "openapi.json"


@dataclass(frozen=True)
class Route:
    """An operation of the OpenAPI document; open to everybody if ``scope`` is None."""

    method: str
    path: str
    tag: str
    scope: str | None


def routes(document: Path = DOCUMENT) -> Iterator[Route]:
    """The operations of the document that is generated from the routes, in its order.

    Raises:
        ValueError: an operation has no security, more than one scope, or not exactly one tag.
    """
    for path, operations in json.loads(document.read_text(encoding="utf-8"))["paths"].items():
        for method, operation in operations.items():
            match operation:
                case {"security": [{"token": [str(scope)]}], "tags": [str(tag)]}:
                    yield Route(method.upper(), path, tag, scope)
                case {"security": [{**none}], "tags": [str(tag)]} if not none:
                    yield Route(method.upper(), path, tag, None)
                case {"security": security, "tags": tags}:
                    raise ValueError(f"{method} {path}: security is {security}, tags are {tags}")
                case _:
                    raise ValueError(f"{method} {path}: no security, or no tags")
