"""Who a caller is, and what they may do."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome, disk
from vireo.homes.local import home as local_home
from vireo.homes.local.tokens import LocalTokens
from vireo.identity import (
    RECOMMEND,
    Caller,
    Forbidden,
    Identity,
    Unauthenticated,
    register_client,
    require,
)
from vireo.ports import Conflict, Refused, Table

NOW = 1_700_000_000.0
OTHER = "vireo/other"


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(NOW)


@pytest.fixture
def home(tmp_path: Path, clock: MovableClock) -> LocalHome:
    home = local_home(tmp_path, clock=clock)
    register_client(home, "machine", "acme")
    return home


def claims(**changes: Any) -> dict[str, Any]:
    good = {
        "sub": "machine",
        "client_id": "machine",
        "token_use": "access",
        "scope": f"{RECOMMEND} {OTHER}",
        "exp": NOW + 60,
        "iss": "https://cognito-idp.eu-west-1.amazonaws.com/pool",
    }
    return {k: v for k, v in (good | changes).items() if v is not None}


def test_a_machine(home: LocalHome) -> None:
    assert Identity(home).caller(claims()) == Caller(
        "acme", "machine", frozenset({RECOMMEND, OTHER}), None
    )


@pytest.mark.parametrize(
    ("changes", "user"),
    [
        ({"sub": "2f1c", "username": "anna"}, "anna"),
        ({"sub": "2f1c", "username": "anna", "custom:user_id": "u-1"}, "u-1"),
        ({"sub": "2f1c"}, "2f1c"),
    ],
)
def test_an_end_user(home: LocalHome, changes: dict[str, str], user: str) -> None:
    assert Identity(home).caller(claims(**changes)).user_id == user


@pytest.mark.parametrize(
    "changes",
    [
        {"token_use": "id"},
        {"token_use": None},
        {"sub": None},
        {"sub": ""},
        {"client_id": None},
        {"client_id": 5},
        {"exp": None},
        {"exp": "soon"},
        {"exp": NOW},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": "Infinity"},
        {"exp": 1e18},
        {"exp": "1e999"},
        {"exp": -NOW},
        {"exp": True},
        {"exp": [NOW + 60]},
        {"exp": "Tue Nov 14 22:13:20 UTC 2023"},
        {"scope": ["vireo/recommend"]},
        {"sub": "2f1c", "username": 7},
    ],
)
def test_what_is_no_live_access_token(home: LocalHome, changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        Identity(home).caller(claims(**changes))


@pytest.mark.parametrize("exp", [NOW + 1, str(int(NOW) + 1), "Tue Nov 14 22:13:21 UTC 2023"])
def test_the_end_as_tokens_and_as_api_gateway_write_it(home: LocalHome, exp: object) -> None:
    assert Identity(home).caller(claims(exp=exp)).tenant == "acme"


def test_a_client_of_no_tenant(home: LocalHome) -> None:
    with pytest.raises(Forbidden):
        Identity(home).caller(claims(client_id="other", sub="other"))


def test_claims_that_name_a_tenant_change_nothing(home: LocalHome) -> None:
    caller = Identity(home).caller(claims(tenant="victim", **{"custom:tenant": "victim"}))
    assert caller.tenant == "acme"


def test_a_tenant_is_remembered_for_five_minutes(home: LocalHome, clock: MovableClock) -> None:
    identity = Identity(home)
    identity.caller(claims())
    home.open("_system").records.delete(Table.REGISTRY, "client", "machine")
    clock.advance(299)
    assert identity.caller(claims(exp=NOW + 1e6)).tenant == "acme"
    clock.advance(1)
    with pytest.raises(Forbidden):
        identity.caller(claims(exp=NOW + 1e6))


def test_registering(home: LocalHome) -> None:
    register_client(home, "machine", "acme")
    with pytest.raises(Conflict):
        register_client(home, "machine", "other")
    with pytest.raises(Refused):
        register_client(home, "new", "Not A Tenant")
    assert Identity(home).caller(claims()).tenant == "acme"


@pytest.mark.parametrize("tenant", ["_system", "_", "_other"])
def test_what_is_outside_all_tenants_is_nobodys(home: LocalHome, tenant: str) -> None:
    with pytest.raises(Refused):
        register_client(home, "new", tenant)
    # Whoever else may have written it.
    home.open("_system").records.put(Table.REGISTRY, "client", "new", {"tenant": tenant})
    with pytest.raises(Forbidden):
        Identity(home).caller(claims(client_id="new", sub="new"))


@given(
    scopes=st.frozensets(st.sampled_from(["a", "b", "c"])),
    wanted=st.sampled_from(["a", "b", "c"]),
    own=st.none() | st.sampled_from(["anna", "bert"]),
    named=st.none() | st.sampled_from(["anna", "bert"]),
)
def test_what_a_caller_may_do(
    scopes: frozenset[str], wanted: str, own: str | None, named: str | None
) -> None:
    caller = Caller("acme", "client", scopes, own)
    allowed = wanted in scopes and (own is None or named is None or named == own)
    if allowed:
        require(caller, wanted, named)
    else:
        with pytest.raises(Forbidden):
            require(caller, wanted, named)


def test_a_laptops_token_is_a_caller(tmp_path: Path) -> None:
    home = local_home(tmp_path)
    tokens = LocalTokens(tmp_path)
    machine = tokens.verify(tokens.issue(home, tenant="acme", client="m", scopes=[RECOMMEND]))
    assert Identity(home).caller(machine) == Caller("acme", "m", frozenset({RECOMMEND}))
    # A user who calls himself what a client is called is still only a user.
    user = tokens.verify(tokens.issue(home, tenant="acme", client="m", scopes=[], user="m"))
    assert Identity(home).caller(user) == Caller("acme", "m", frozenset(), "m")
    with pytest.raises(Conflict):
        tokens.issue(home, tenant="other", client="m")


def test_the_key_is_the_owners_alone_and_is_kept(tmp_path: Path) -> None:
    home = local_home(tmp_path)
    token = LocalTokens(tmp_path).issue(home, tenant="acme", client="m")
    assert stat.S_IMODE((tmp_path / "token-key.pem").stat().st_mode) == 0o600
    assert LocalTokens(tmp_path).verify(token)["client_id"] == "m"
    with pytest.raises(Unauthenticated):
        LocalTokens(tmp_path / "elsewhere").verify(token)


def test_a_key_that_others_may_read_is_the_owners_again(tmp_path: Path) -> None:
    key = tmp_path / "state" / "token-key.pem"
    LocalTokens(key.parent)
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    key.chmod(0o644)
    LocalTokens(key.parent)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes = b"") -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )


NO_KEYS = {
    "nothing": b"",
    "no text": b"\xff" * 100,
    "half a key": pem(rsa.generate_private_key(65537, 2048))[:800],
    "a short key": pem(rsa.generate_private_key(65537, 1024)),
    "another kind of key": pem(ec.generate_private_key(ec.SECP256R1())),
    "a key with a password": pem(rsa.generate_private_key(65537, 2048), b"secret"),
}


@pytest.mark.parametrize("kind", NO_KEYS)
def test_a_file_that_is_no_key_is_named_and_left_as_it_is(tmp_path: Path, kind: str) -> None:
    key = tmp_path / "token-key.pem"
    key.write_bytes(NO_KEYS[kind])
    with pytest.raises(disk.Unusable, match=r"token-key\.pem holds no RSA key of 2048 bits\. Move"):
        LocalTokens(tmp_path)
    assert key.read_bytes() == NO_KEYS[kind]


@pytest.mark.parametrize("there", [False, True])
def test_what_a_laptop_keeps_is_its_owners(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "state"
    if there:  # made by somebody else, whose business its mode is
        folder.mkdir(mode=0o755)
    mask = os.umask(0o022)
    try:
        opened = local_home(folder)
        opened.open("acme").blobs.write("events/a", b"a")
        register_client(opened, "m", "acme")
        open_to_others = {
            path.name
            for path in (folder, *folder.iterdir())
            if stat.S_IMODE(path.stat().st_mode) & 0o077
        }
    finally:
        os.umask(mask)
    assert open_to_others == ({"state"} if there else set())
    assert (folder / "records.db-wal").exists()
    opened.close()


def test_the_script_prints_a_token(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/issue_token.py", "--state", str(tmp_path)]
    command += ["--tenant", "acme", "--client", "c", "--user", "anna", "--scope", RECOMMEND]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    claims = LocalTokens(tmp_path).verify(done.stdout.strip())
    caller = Identity(local_home(tmp_path)).caller(claims)
    assert caller == Caller("acme", "c", frozenset({RECOMMEND}), "anna")
