"""Published versions of the functions, which cost money while they have a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vireo.homes.aws.errors import translated

#: Of one function, deleted in one call; the next goes on.
MOST = 50


class FunctionVersions:
    """`vireo.ports.Versions` of certain functions."""

    def __init__(self, client: Callable[[str], Any], functions: Sequence[str]) -> None:
        self._client = client
        self._functions = functions

    def forget(self, keep: int) -> int:
        """See the port."""
        return sum(self._forget(function, keep) for function in self._functions)

    def _forget(self, function: str, keep: int) -> int:
        with translated(f"versions of {function}"):
            # Versions first: one that an alias is moved to meanwhile is then among its names.
            numbers = sorted(self._published(function))
            named = set(self._named(function))
            old = [n for n in numbers[: max(len(numbers) - keep, 0)] if n not in named][:MOST]
            for number in old:
                self._client("lambda").delete_function(FunctionName=function, Qualifier=str(number))
        return len(old)

    def _published(self, function: str) -> Iterator[int]:
        pages = self._client("lambda").get_paginator("list_versions_by_function")
        for page in pages.paginate(FunctionName=function):
            for version in page["Versions"]:
                if version["Version"] != "$LATEST":
                    yield int(version["Version"])

    def _named(self, function: str) -> Iterator[int]:
        """Versions of every alias, both of them while requests are being shifted."""
        pages = self._client("lambda").get_paginator("list_aliases")
        for page in pages.paginate(FunctionName=function):
            for alias in page["Aliases"]:
                weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
                yield from (int(n) for n in (alias["FunctionVersion"], *weights) if n != "$LATEST")
