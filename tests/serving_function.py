"""The serving function with its alias on moto, for tests of releases."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from moto.awslambda.models import LambdaFunction

from vireo.homes.aws.releases import ALIAS

#: For ``mock_aws``: functions are not run.
CONFIG: Any = {"lambda": {"use_docker": False}}


def make(name: str, variables: Mapping[str, str], group: str | None, patch: Any) -> Any:
    """The function, its first version behind the alias, and CodeDeploy's ``application/group``."""
    _with_revisions(patch)
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("handler.py", "def handler(event, context): return event")
    role = boto3.client("iam").create_role(RoleName=f"{name}-role", AssumeRolePolicyDocument="{}")
    lambda_: Any = boto3.client("lambda")
    lambda_.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=role["Role"]["Arn"],
        Handler="handler.handler",
        Code={"ZipFile": code.getvalue()},
        Environment={"Variables": dict(variables)},
        Publish=True,
    )
    lambda_.create_alias(FunctionName=name, Name=ALIAS, FunctionVersion="1")
    if group is not None:
        application, _, named = group.partition("/")
        codedeploy: Any = boto3.client("codedeploy")
        codedeploy.create_application(applicationName=application, computePlatform="Lambda")
        codedeploy.create_deployment_group(
            applicationName=application,
            deploymentGroupName=named,
            serviceRoleArn=role["Role"]["Arn"],
        )
    return lambda_


def _with_revisions(patch: pytest.MonkeyPatch) -> None:
    """moto's functions have no revisions; AWS' always have."""
    plain = LambdaFunction.get_configuration

    def revised(*given: Any, **named: Any) -> dict[str, Any]:
        return {**plain(*given, **named), "RevisionId": "r-1"}

    patch.setattr(LambdaFunction, "get_configuration", revised)
