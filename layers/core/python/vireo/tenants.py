"""One service for every tenant of a home, made when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from vireo.ports import Home, Ports

S = TypeVar("S")


class Tenants(Generic[S]):
    """Services by tenant; any number of threads may ask for the same one.

    Args:
        home: of all tenants.
        make: a service from the ports of its tenant. It must not take long: others wait meanwhile.
    """

    def __init__(self, home: Home, make: Callable[[Ports], S]) -> None:
        self._home = home
        self._make = make
        self._made: dict[str, S] = {}
        self._lock = Lock()

    def __call__(self, tenant: str) -> S:
        """The service of a tenant. Raises `vireo.ports.Refused` for what is no tenant's name."""
        with self._lock:
            if tenant not in self._made:
                self._made[tenant] = self._make(self._home.open(tenant))
            return self._made[tenant]

    def made(self) -> list[S]:
        """The services that were asked for so far."""
        return list(self._made.values())
