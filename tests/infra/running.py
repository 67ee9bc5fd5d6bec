"""Functions as an account runs them: on moto, with the environment that their templates say."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests import serving_function
from tests.contract.conftest import make_tables
from tests.infra.account import REGION, Account
from tests.infra.recording import Recorder, recording
from tests.sources import ROOT
from vireo.homes import aws
from vireo.identity import SCOPES
from vireo.settings import Settings

Handler = Callable[[Any, Any], Any]


@contextmanager
def deployed(account: Account, function: str, scratch: Path, **changes: str) -> Iterator[Recorder]:
    """An AWS account on moto in which a function's environment is that of its template."""
    variables = account.variables(function) | {"VIREO_SCRATCH": str(scratch)} | changes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        with mock_aws(config=serving_function.CONFIG), recording() as recorder:
            for name, value in variables.items():
                patch.setenv(name, value)
            settings = Settings.from_env(variables)
            aws.home.cache_clear()
            with recorder.paused():
                where: Any = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
                boto3.client("s3").create_bucket(Bucket=settings.bucket, **where)
                boto3.client("kinesis").create_stream(StreamName=settings.stream, ShardCount=1)
                make_tables(boto3.client("dynamodb"), settings)
                if settings.serving_function:
                    serving = settings.serving_function
                    serving_function.make(
                        serving, account.variables(serving), settings.serving_group, patch
                    )
            yield recorder
    aws.home.cache_clear()


def handler(package: str) -> Handler:
    """The handler of a function, made anew: with the environment of this moment."""
    path = ROOT / "lambdas" / package / "handler.py"
    spec = importlib.util.spec_from_file_location(f"{package}.handler_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Handler = module.handler
    return found


def request(method: str, path: str, body: Any = None, client: str = "machine") -> dict[str, Any]:
    """What API Gateway sends for a client that may do everything."""
    claims = {
        "token_use": "access",
        "client_id": client,
        "sub": client,
        "exp": str(int(datetime.now(UTC).timestamp()) + 3600),
        "scope": " ".join(SCOPES),
    }
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {"content-type": "application/json"},
        "multiValueHeaders": {"content-type": ["application/json"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {
            "requestId": "r-1",
            "path": path,
            "stage": "live",
            "authorizer": {"claims": claims},
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }
