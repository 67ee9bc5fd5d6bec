"""Which calls to AWS code really makes, as IAM sees them: an action on a resource."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.session
import pytest

from tests.infra.account import ACCOUNT, REGION, Statement

Call = tuple[str, str]

_TABLES = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/"
_STREAMS = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/"
_CACHES = f"arn:aws:elasticache:{REGION}:{ACCOUNT}:"
#: Operations of S3 whose action has another name; all others are called as they are.
_S3 = {
    "HeadObject": "GetObject",
    "UploadPart": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "ListObjectsV2": "ListBucket",
}


class Recorder:
    """Notes the calls of every client that is made while it is `recording`."""

    def __init__(self) -> None:
        self.calls: set[Call] = set()
        self.on = True

    def before(self, **event: Any) -> None:
        """A call with those parameters is about to be made."""
        if not self.on:
            return
        model = event["model"]
        found = actions(model.service_model.service_name, model.name, event["params"])
        self.calls |= found
        event["context"]["vireo"] = found

    def after(self, **event: Any) -> None:
        """S3 says that an object is missing only to who may list its bucket, else: forbidden."""
        if event["http_response"].status_code == 404:
            for action, resource in event["context"].get("vireo", ()):
                if action == "s3:GetObject":
                    self.calls.add(("s3:ListBucket", resource.split("/", 1)[0]))

    def signing_in(self, **event: Any) -> None:
        """A token for ElastiCache is signed: not a call, but IAM looks at it as at one."""
        if self.on:
            user = event["request"].url.split("//")[1].split("/")[0]
            self.calls |= {
                ("elasticache:Connect", f"{_CACHES}{kind}:{user}")
                for kind in ("replicationgroup", "user")
            }

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is called meanwhile, others call."""
        self.on = False
        try:
            yield
        finally:
            self.on = True


@contextmanager
def recording() -> Iterator[Recorder]:
    """A recorder of all sessions that are made from now on."""
    recorder = Recorder()
    make = botocore.session.get_session

    def made(*given: Any, **named: Any) -> Any:
        session = make(*given, **named)
        session.register("before-parameter-build", recorder.before)
        session.register("after-call.s3", recorder.after)
        session.register("before-sign.elasticache.connect", recorder.signing_in)
        return session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "get_session", made)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        yield recorder


def actions(service: str, operation: str, params: dict[str, Any]) -> set[Call]:
    """What IAM is asked for an operation. Raises KeyError for a service that is not known here."""
    match service:
        case "dynamodb" if operation == "TransactWriteItems":
            entries = [item for item in params["TransactItems"] for item in item.items()]
            return {(f"dynamodb:{kind}Item", _TABLES + one["TableName"]) for kind, one in entries}
        case "dynamodb":
            return {(f"dynamodb:{operation}", _TABLES + params["TableName"])}
        case "s3":
            action = f"s3:{_S3.get(operation, operation)}"
            key = f"/{params['Key']}" if "Key" in params else ""
            return {(action, f"arn:aws:s3:::{params['Bucket']}{key}")}
        case "kinesis":
            return {(f"kinesis:{operation}", _STREAMS + params["StreamName"])}
        case "stepfunctions":
            arn = params.get("stateMachineArn") or params["executionArn"]
            return {(f"states:{operation}", arn)}
    raise KeyError(f"{service}:{operation}: say here what IAM is asked")


def matches(pattern: str, name: str) -> bool:
    """As IAM does: ``*`` is any text, ``?`` any character, and all else is itself."""
    first, *others = pattern.split("*")
    assert "?" not in pattern, pattern
    if not others:
        return name == pattern
    if not name.startswith(first):
        return False
    rest = name[len(first) :]
    *middle, last = others
    for part in middle:
        _, found, rest = rest.partition(part)
        if part and not found:
            return False
    return rest.endswith(last)


def allows(statement: Statement, call: Call) -> bool:
    """Whether a statement covers a call."""
    action, resource = call
    return any(matches(a, action) for a in statement.actions) and any(
        matches(r, resource) for r in statement.resources
    )


def complaints(statements: list[Statement], calls: set[Call]) -> list[str]:
    """What is missing, what nobody uses, and what is wider than it must be."""
    found = [
        f"not allowed: {action} on {resource}"
        for action, resource in sorted(calls)
        if not any(allows(s, (action, resource)) for s in statements)
    ]
    for s in statements:
        used = {call for call in calls if allows(s, call)}
        found += [
            f"unused: {action} on {', '.join(s.resources)}"
            for action in s.actions
            if not any(matches(action, used_action) for used_action, _ in used)
        ]
        found += [
            f"unused: {', '.join(s.actions)} on {resource}"
            for resource in s.resources
            if not any(matches(resource, used_resource) for _, used_resource in used)
        ]
        found += [f"too wide: {action}" for action in s.actions if "*" in action]
        found += [f"too wide: {resource}" for resource in s.resources if _too_wide(resource)]
    return found


def _too_wide(resource: str) -> bool:
    """A wildcard, but for objects of every tenant under a prefix: ``bucket/*/bundles/*``."""
    if "*" not in resource:
        return False
    bucket, _, key = resource.removeprefix("arn:aws:s3:::").partition("/")
    prefix = key.removeprefix("*/").removesuffix("/*")
    return not resource.startswith("arn:aws:s3") or "*" in bucket + prefix or not prefix
