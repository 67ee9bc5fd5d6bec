"""One service per tenant, created at first use."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from vireo.ports import Home, Ports

S = TypeVar("S")


class Tenants(Generic[S]):
    """Services by tenant. Thread-safe.

    Args:
        home: the home in which tenants are opened.
        make: creates a tenant's service from its ports. It must be quick, as other callers wait.
    """

    def __init__(self, home: Home, make: Callable[[Ports], S]) -> None:
        self._home = home
        self._make = make
        self._made: dict[str, S] = {}
        self._lock = Lock()

    def __call__(self, tenant: str) -> S:
        """The service of a tenant. Raises `vireo.ports.Refused` for an invalid tenant name."""
        with self._lock:
            if tenant not in self._made:
                self._made[tenant] = self._make(self._home.open(tenant))
            return self._made[tenant]
