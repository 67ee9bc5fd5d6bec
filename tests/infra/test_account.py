"""What an account has once is in a stack of its own, which no environment takes away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cfnlint.api
import pytest

import app
from stacks import account
from stacks.environments import ENVIRONMENTS
from tests.infra.templates import text


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The template of the only stack that is built then, checked as all are."""
    folder = tmp_path_factory.mktemp("account")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "FLAGS", {**app.FLAGS, "environment": account.CONTEXT})
        app.synthesise(folder=str(folder))
    (path,) = folder.glob("*.template.json")
    assert path.name == f"{account.NAME}.template.json"
    assert cfnlint.api.lint(path.read_text()) == []
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_it_owns_the_role_of_the_gateways_logs(template: dict[str, Any]) -> None:
    resources = template["Resources"]
    kinds = {resource["Type"]: resource["Properties"] for resource in resources.values()}
    assert set(kinds) == {"AWS::ApiGateway::Account", "AWS::IAM::Role"}
    (role,) = [name for name, r in resources.items() if r["Type"] == "AWS::IAM::Role"]
    assert text(kinds["AWS::ApiGateway::Account"]["CloudWatchRoleArn"]) == f"<{role}.Arn>"
    (policy,) = kinds["AWS::IAM::Role"]["ManagedPolicyArns"]
    assert text(policy).endswith("service-role/AmazonAPIGatewayPushToCloudWatchLogs")
    trusted = json.dumps(kinds["AWS::IAM::Role"]["AssumeRolePolicyDocument"])
    assert "apigateway.amazonaws.com" in trusted


def test_its_name_is_no_environments(template: dict[str, Any]) -> None:
    """Taking an environment down finds its stacks by their prefix."""
    assert account.CONTEXT not in ENVIRONMENTS
    assert not account.NAME.startswith(tuple(f"vireo-{name}-" for name in ENVIRONMENTS))


def test_the_documents_name_it() -> None:
    text = (Path(app.__file__).parent / "docs/operations.md").read_text()
    assert account.NAME in text
