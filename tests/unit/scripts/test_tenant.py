"""`scripts/tenant.py`: a tenant's life by command, on a laptop and in an environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from scripts import tenant as script
from vireo import identity
from vireo.homes import deployed
from vireo.homes.local import LocalHome
from vireo.ports import Table


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def run(state: Path, command: str, name: str, *more: str) -> None:
    script.main([command, name, "--state", str(state), *more])


@contextmanager
def opened(state: Path) -> Iterator[LocalHome]:
    home = LocalHome(state)
    try:
        yield home
    finally:
        home.close()


def test_made_exported_deleted(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for told in ("now has", "has"):
        run(state, "create", "acme")
        out = capsys.readouterr().out
        assert f"acme {told} the client laptop-acme" in out
        assert "Its limits: 50 requests a second, 100 at once, of each client" in out
        assert "scripts/issue_token.py --tenant acme --client laptop-acme" in out
    with opened(state) as home:
        assert identity.clients(home, "acme") == ["laptop-acme"]
        home.open("acme").records.put(Table.SETTINGS, "tuning", "", {"explore_slots": 1})
    run(state, "export", "acme", "--into", str(tmp_path / "out"))
    assert "1  settings.jsonl" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda _: "acm")
    with pytest.raises(SystemExit, match="Nothing was removed: 'acm' is not 'acme'"):
        run(state, "delete", "acme")
    slept: list[float] = []
    monkeypatch.setattr(script, "sleep", slept.append)
    monkeypatch.setattr("builtins.input", lambda _: "acme")
    capsys.readouterr()
    run(state, "delete", "acme")
    out = capsys.readouterr().out
    assert "Removed: clients laptop-acme" in out
    assert "1  records of settings" in out
    assert "still there" in out
    assert [round(seconds, -1) for seconds in slept] == [300, 420]
    run(state, "delete", "acme", "--yes", "acme", "--at-once")
    assert "There is nothing of acme." in capsys.readouterr().out
    assert len(slept) == 2
    with opened(state) as home:
        assert identity.clients(home, "acme") == []


@pytest.mark.parametrize("name", ["_system", "_other", "A", "a b", "a" * 33])
@pytest.mark.parametrize("command", ["create", "export", "delete"])
def test_what_is_no_tenant_is_refused_in_a_sentence(
    state: Path, command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(state, command, name)
    assert f"{name!r} is no tenant's name" in capsys.readouterr().err
    assert not state.exists()


def test_another_tenants_client_is_refused(state: Path) -> None:
    run(state, "create", "acme", "--client", "shared")
    with pytest.raises(SystemExit, match="another tenant's"):
        run(state, "create", "other", "--client", "shared")


def test_a_folder_of_something_else_is_left_alone(state: Path, tmp_path: Path) -> None:
    run(state, "create", "acme")
    with pytest.raises(SystemExit, match="no export of acme"):
        run(state, "export", "acme", "--into", str(tmp_path))


@pytest.fixture
def pool(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str]]:
    """An environment's user pool with its first client, beside the records of a laptop."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws():
        client: Any = boto3.client("cognito-idp")
        made = client.create_user_pool(PoolName="callers")["UserPool"]["Id"]
        scopes = [{"ScopeName": s.split("/")[1], "ScopeDescription": s} for s in identity.SCOPES]
        client.create_resource_server(
            UserPoolId=made, Identifier="vireo", Name="vireo", Scopes=scopes
        )
        client.create_user_pool_client(UserPoolId=made, ClientName="Service")

        @contextmanager
        def there(environment: str) -> Iterator[LocalHome]:
            assert environment == "dev"
            with opened(state) as home:
                yield home

        told = {"UserPoolId": made, "TokenUrl": "https://tokens"}
        monkeypatch.setattr(deployed, "deployed", there)
        monkeypatch.setattr(deployed, "outputs", lambda environment, part: told)
        yield client, made


def test_in_an_environment_its_client_is_one_of_the_user_pool(
    pool: tuple[Any, str], state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cognito, made = pool

    def names() -> list[str]:
        listed = cognito.list_user_pool_clients(UserPoolId=made, MaxResults=60)
        return sorted(client["ClientName"] for client in listed["UserPoolClients"])

    for _ in range(2):
        script.main(["create", "acme", "--environment", "dev", "--scope", "vireo/recommend"])
        assert names() == ["Service", "tenant-acme"]
    with opened(state) as home:
        (client,) = identity.clients(home, "acme")
    described = cognito.describe_user_pool_client(UserPoolId=made, ClientId=client)
    settings = described["UserPoolClient"]
    assert settings["AllowedOAuthScopes"] == ["vireo/recommend"]
    assert settings["AllowedOAuthFlows"] == ["client_credentials"]
    out = capsys.readouterr().out
    assert client in out
    assert "https://tokens" in out
    assert "Its limits: 50 requests a second of all together\n" in out
    assert settings["ClientSecret"] not in out
    script.main(["delete", "acme", "--environment", "dev", "--yes", "acme", "--at-once"])
    assert names() == ["Service"]
    out = capsys.readouterr().out
    assert f"{client}, {client} of the user pool" in out
    assert "point-in-time recovery of the tables: 35 days" in out
    with opened(state) as home:
        assert identity.clients(home, "acme") == []
