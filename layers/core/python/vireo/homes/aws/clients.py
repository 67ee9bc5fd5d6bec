"""boto3's clients, each created at first use, with the time limits of the settings."""

from __future__ import annotations

from threading import Lock
from typing import Any

import boto3
from botocore.config import Config

from vireo.settings import Settings


class Clients:
    """boto3's clients, created at first use (which costs 40–180 ms each) and then kept."""

    def __init__(self, settings: Settings) -> None:
        self._lock = Lock()
        self._made: dict[str, Any] = {}
        self._settings = settings
        self._limits = {
            "dynamodb": settings.record_seconds,
            "s3": settings.blob_seconds,
            "kinesis": settings.stream_seconds,
            "stepfunctions": settings.stream_seconds,
            "lambda": settings.blob_seconds,
            "codedeploy": settings.blob_seconds,
        }

    def __call__(self, service: str) -> Any:
        """The client of a service."""
        client = self._made.get(service)
        if client is None:
            with self._lock:  # boto3 makes clients from a session that threads must not share
                client = self._made.get(service) or self._make(service)
                self._made[service] = client
        return client

    def _make(self, service: str) -> Any:
        config = Config(
            connect_timeout=self._settings.connect_seconds,
            read_timeout=self._limits[service],
            retries={"mode": "standard", "total_max_attempts": self._settings.attempts},
        )
        # The stubs have an overload for every service by name, none for a name in a variable.
        return boto3.client(service, config=config)  # type: ignore[call-overload]
