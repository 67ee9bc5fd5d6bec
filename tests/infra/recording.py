"""Which calls to AWS code really makes, as IAM sees them: an action on a resource."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.session
import pytest

from stacks import canary
from tests.infra.account import ACCOUNT, REGION, Statement

Call = tuple[str, str]
#: How requests are shifted, which CodeDeploy looks up for who begins a deployment.
CANARY = canary.CANARY.deployment_config_name

_TABLES = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/"
_STREAMS = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/"
_FUNCTIONS = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"
_DEPLOYMENTS = f"arn:aws:codedeploy:{REGION}:{ACCOUNT}:"
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
        #: The group of every deployment, which is what IAM looks at.
        self._groups: dict[str, str] = {}

    def before(self, **event: Any) -> None:
        """A call with those parameters is about to be made."""
        if not self.on:
            return
        model = event["model"]
        params = event["params"]
        if "deploymentId" in params:
            params = params | {"group": self._groups[params["deploymentId"]]}
        found = actions(model.service_model.service_name, model.name, params)
        self.calls |= found
        event["context"]["vireo"] = found
        if "deploymentGroupName" in params:
            event["context"]["vireo group"] = (
                f"{params['applicationName']}/{params['deploymentGroupName']}"
            )

    def after(self, **event: Any) -> None:
        """S3 says that an object is missing only to who may list its bucket, else: forbidden."""
        if event["http_response"].status_code == 404:
            for action, resource in event["context"].get("vireo", ()):
                if action == "s3:GetObject":
                    self.calls.add(("s3:ListBucket", resource.split("/", 1)[0]))

    def deploying(self, **event: Any) -> None:
        """A deployment has begun."""
        self._groups[event["parsed"]["deploymentId"]] = event["context"]["vireo group"]

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
        session.register("after-call.codedeploy.CreateDeployment", recorder.deploying)
        session.register("before-sign.elasticache.connect", recorder.signing_in)
        return session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "get_session", made)
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        yield recorder


def actions(service: str, operation: str, params: dict[str, Any]) -> set[Call]:
    """What IAM is asked for an operation. Raises KeyError for a service that is not known here."""
    if operation == "TransactWriteItems":
        entries = [item for entry in params["TransactItems"] for item in entry.items()]
        return {(f"dynamodb:{kind}Item", _TABLES + one["TableName"]) for kind, one in entries}
    if operation == "CreateDeployment":
        return _deployment(params["applicationName"], params["deploymentGroupName"])
    if service == "s3":
        key = f"/{params['Key']}" if "Key" in params else ""
        return {(f"s3:{_S3.get(operation, operation)}", f"arn:aws:s3:::{params['Bucket']}{key}")}
    prefix, resource_of = _RESOURCES[service]
    return {(f"{prefix}:{operation}", resource_of(params))}


#: How IAM calls a service, and the resource of any of its operations.
_RESOURCES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "dynamodb": ("dynamodb", lambda p: _TABLES + p["TableName"]),
    "kinesis": ("kinesis", lambda p: _STREAMS + p["StreamName"]),
    "lambda": ("lambda", lambda p: ":".join([_FUNCTIONS + p["FunctionName"], *_version(p)])),
    "codedeploy": ("codedeploy", lambda p: f"{_DEPLOYMENTS}deploymentgroup:{p['group']}"),
    "stepfunctions": ("states", lambda p: p.get("stateMachineArn") or p["executionArn"]),
}


def _version(params: dict[str, Any]) -> list[str]:
    return [params["Qualifier"]] if "Qualifier" in params else []


def _deployment(application: str, group: str) -> set[Call]:
    """Beginning one, and what CodeDeploy then asks for the caller."""
    revisions = f"{_DEPLOYMENTS}application:{application}"
    return {
        ("codedeploy:CreateDeployment", f"{_DEPLOYMENTS}deploymentgroup:{application}/{group}"),
        ("codedeploy:GetDeploymentConfig", f"{_DEPLOYMENTS}deploymentconfig:{CANARY}"),
        ("codedeploy:GetApplicationRevision", revisions),
        ("codedeploy:RegisterApplicationRevision", revisions),
    }


def matches(pattern: str, name: str) -> bool:
    """As IAM does: ``*`` is any text. No pattern of ours has a ``?``."""
    return bool(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL))


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
    """A wildcard, but for every tenant's objects under a prefix, and for a function's versions."""
    if "*" not in resource.removesuffix(":*") and resource.startswith(_FUNCTIONS):
        return False
    if "*" not in resource:
        return False
    bucket, _, key = resource.removeprefix("arn:aws:s3:::").partition("/")
    prefix = key.removeprefix("*/").removesuffix("/*")
    return not resource.startswith("arn:aws:s3") or "*" in bucket + prefix or not prefix
