"""Sign-in to ElastiCache with the function's own role, so that no password is stored."""

from __future__ import annotations

import boto3
import redis
from botocore.exceptions import BotoCoreError, NoCredentialsError
from botocore.model import ServiceId
from botocore.signers import RequestSigner
from redis.credentials import CredentialProvider

#: Lifetime of a token; a connection that was opened with it lasts for twelve hours.
TOKEN_SECONDS = 900


class RoleSignIn(CredentialProvider):
    """Redis credentials: the user, and a presigned request to connect in place of a password.

    They are made for every connection, in the process, without calling AWS. See "Authenticating
    with IAM" in ElastiCache's guide.

    Args:
        identity: the name of the replication group, and of its user.
        session: provides credentials and region; created at first use.
    """

    def __init__(self, identity: str, session: boto3.Session | None = None) -> None:
        self._identity = identity
        self._session = session

    def get_credentials(self) -> tuple[str, str]:
        """User and token. Raises `redis.AuthenticationError` if there are no credentials."""
        try:
            return self._identity, self._token()
        except BotoCoreError as error:
            raise redis.AuthenticationError(f"cannot sign in to the cache: {error}") from error

    def _token(self) -> str:
        self._session = self._session or boto3.Session()
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        signer = RequestSigner(
            ServiceId("elasticache"),
            self._session.region_name,
            "elasticache",
            "v4",
            credentials,
            self._session.events,
        )
        url: str = signer.generate_presigned_url(
            {
                "method": "GET",
                "url": f"http://{self._identity}/?Action=connect&User={self._identity}",
                "body": {},
                "headers": {},
                "context": {},
            },
            region_name=self._session.region_name,
            expires_in=TOKEN_SECONDS,
            operation_name="connect",
        )
        return url.removeprefix("http://")
