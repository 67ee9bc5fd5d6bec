"""Tokens on a laptop: the claims of a Cognito access token, signed with a key in the folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from vireo.homes.local import disk
from vireo.identity import SCOPES, Unauthenticated, possible_moment, register_client
from vireo.ports import Home

ISSUER = "https://laptop.invalid/vireo"
_ALGORITHM = "RS256"
_BITS = 2048
_DATES = frozenset({"exp", "iat", "nbf", "auth_time"})


class LocalTokens:
    """Issues and verifies tokens with an RSA key that is created at first use.

    Raises `disk.Unusable` for a file that holds no such key, and OSError if it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "token-key.pem"
        if not path.exists():
            _make_key(path)
        # A copy, or what came out of an archive, may be everybody's.
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
        key = _key(path.read_bytes())
        if key is None:
            raise disk.Unusable(
                f"{path} holds no RSA key of {_BITS} bits. Move it away, and a new key is made at "
                "the next start; tokens signed with the old one are not valid then."
            )
        self._private = key
        self._public = key.public_key()

    def issue(
        self,
        home: Home,
        *,
        tenant: str,
        client: str,
        scopes: Sequence[str] = SCOPES,
        user: str | None = None,
        seconds: float = 3600,
    ) -> str:
        """A token for a machine client, or for an end user who signed in through it.

        Registers the client for the tenant. Raises `vireo.ports.Conflict` if it is another
        tenant's.
        """
        register_client(home, client, tenant)
        now = home.open(tenant).clock.now()
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "client_id": client,
            # As in Cognito the subject is generated, so that no user can choose a client's id.
            "sub": client if user is None else str(uuid5(NAMESPACE_URL, f"{ISSUER}/{user}")),
            "token_use": "access",
            "scope": " ".join(scopes),
            "iat": int(now),
            "auth_time": int(now),
            "exp": int(now + seconds),
            "jti": str(uuid4()),
            "version": 2,
        }
        if user is not None:
            claims["username"] = user
        return jwt.encode(claims, self._private, algorithm=_ALGORITHM)

    def verify(self, token: str) -> Mapping[str, Any]:
        """The claims of a token. Raises `Unauthenticated` if it is not ours, altered or expired."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public,
                algorithms=[_ALGORITHM],
                issuer=ISSUER,
                options={"require": ["exp", "iss", "sub", "client_id", "token_use"]},
            )
        except (jwt.PyJWTError, OverflowError, TypeError) as error:
            # The last two: PyJWT makes a whole number of any date, be it infinite or a list.
            raise Unauthenticated(str(error)) from error
        for name in _DATES & claims.keys():
            if not possible_moment(claims[name]):
                raise Unauthenticated(f"{name} is no possible date")
        if claims["token_use"] != "access":
            raise Unauthenticated("not an access token")
        return claims


def _key(pem: bytes) -> rsa.RSAPrivateKey | None:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it wants a password
        return None
    return key if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _BITS else None


def _make_key(path: Path) -> None:
    """Create a key, readable by its owner only. Of two processes that do so, the first wins."""
    disk.make_folder(path.parent, 0o700)
    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with NamedTemporaryFile(dir=path.parent, prefix=".") as file:  # made with mode 0600
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            return
    disk.sync(path.parent)
