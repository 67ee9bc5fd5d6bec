"""Blobs in S3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vireo.homes.aws.errors import translated
from vireo.homes.names import checked_blob, checked_prefix

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3Blobs:
    """`vireo.ports.Blobs` of one tenant: objects under ``<tenant>/``."""

    def __init__(self, client: Callable[[], S3Client], tenant: str, bucket: str) -> None:
        self._client = client
        self._tenant = tenant
        self._bucket = bucket

    def read(self, name: str) -> bytes:
        """See the port."""
        key = self._key(name)
        with translated(f"blob {name}"):
            return self._client().get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def write(self, name: str, data: bytes) -> None:
        """See the port."""
        key = self._key(name)
        with translated(f"blob {name}"):
            self._client().put_object(Bucket=self._bucket, Key=key, Body=data)

    def delete(self, name: str) -> None:
        """See the port."""
        key = self._key(name)
        with translated(f"blob {name}"):
            self._client().delete_object(Bucket=self._bucket, Key=key)

    def names(self, prefix: str = "") -> Iterator[str]:
        """See the port."""
        return (name for name, _ in self.written(prefix))

    def written(self, prefix: str = "") -> Iterator[tuple[str, float]]:
        """See the port."""
        start = f"{self._tenant}/{checked_prefix(prefix)}"
        with translated(f"blobs {prefix}"):
            pages = self._client().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=start):
                for found in page.get("Contents", []):
                    name = found["Key"].removeprefix(f"{self._tenant}/")
                    yield name, found["LastModified"].timestamp()

    def download(self, name: str, path: str) -> None:
        """See the port."""
        key = self._key(name)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with translated(f"blob {name}"):  # boto3 writes beside it and renames
            self._client().download_file(Bucket=self._bucket, Key=key, Filename=str(target))

    def upload(self, path: str, name: str) -> None:
        """See the port. Raises FileNotFoundError if the local file does not exist."""
        key = self._key(name)
        with translated(f"blob {name}"), Path(path).open("rb") as file:
            self._client().upload_fileobj(file, Bucket=self._bucket, Key=key)

    def _key(self, name: str) -> str:
        return f"{self._tenant}/{checked_blob(name)}"
