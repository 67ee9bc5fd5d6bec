"""The commands of ``deploy.sh`` and ``teardown.sh`` in an AWS account."""

from __future__ import annotations

import argparse
import base64
import json
import re
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from vireo.bundles.pointer import current
from vireo.homes.chosen import json_file
from vireo.homes.deployed import deployed, finish, outputs
from vireo.identity import SCOPES, register_client
from vireo.ports import Missing, Unavailable, Withdrawn

#: The tenant of the first client, and of the schedule.
TENANT = "default"
#: Types of resources that outlive their stack, and are deleted only by `erase`.
RETAINED = {
    "AWS::DynamoDB::Table",
    "AWS::S3::Bucket",
    "AWS::Cognito::UserPool",
    "AWS::KMS::Key",
    "AWS::Lambda::LayerVersion",
}
STANDING = ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"]
#: Seconds between polls of a process that takes minutes.
EVERY = 10.0


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the options name."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what.__doc__, description=what.__doc__)
        if name == "erase":
            command.add_argument("plan", type=Path)
        elif name not in ("account", "gateway-role"):
            command.add_argument("environment", choices=("dev", "staging", "prod"))
        if name == "train":
            what_it_is = "JSON that overrides the training's defaults, for this run"
            command.add_argument("--settings", type=json_file, metavar="FILE", help=what_it_is)
    options = vars(parser.parse_args(arguments))
    try:
        COMMANDS[options.pop("command")](**options)
    except (BotoCoreError, ClientError, Missing, Unavailable, Withdrawn) as error:
        raise SystemExit(f"AWS: {error}") from None


def account() -> None:
    """Print ACCOUNT/REGION of the current credentials."""
    region = boto3.session.Session().region_name
    if region is None:
        raise SystemExit("No region: set AWS_REGION, or choose a profile with AWS_PROFILE.")
    sts: Any = boto3.client("sts", region_name=region)
    print(f"{sts.get_caller_identity()['Account']}/{region}")


def gateway_role() -> None:
    """Print the role by which API Gateway writes logs in this account; nothing if it needs one.

    One of an environment's own API, as there were, does not count: it goes with the environment.
    """
    arn = boto3.client("apigateway").get_account().get("cloudwatchRoleArn", "")
    name = arn.rpartition("/")[2]
    if not name or re.match(r"vireo-[a-z]+-api-", name):
        return
    iam: Any = boto3.client("iam")
    try:
        iam.get_role(RoleName=name)
    except iam.exceptions.NoSuchEntityException:
        return
    print(arn)


def image(environment: str) -> None:
    """Build the training image with CodeBuild, unless it exists, and wait for it."""
    made = outputs(environment, "images")
    ecr: Any = boto3.client("ecr")
    try:
        ecr.describe_images(
            repositoryName=made["RepositoryName"], imageIds=[{"imageTag": made["ImageTag"]}]
        )
        print(f"The training image {made['ImageTag'][:12]} is there.")
        return
    except ecr.exceptions.ImageNotFoundException:
        pass
    codebuild: Any = boto3.client("codebuild")
    build = codebuild.start_build(projectName=made["BuildProject"])["build"]
    print(f"CodeBuild makes the training image: {build['id']}", flush=True)
    while build["buildStatus"] == "IN_PROGRESS":
        time.sleep(EVERY)
        (build,) = codebuild.batch_get_builds(ids=[build["id"]])["builds"]
    if build["buildStatus"] != "SUCCEEDED":
        logs = build.get("logs", {}).get("deepLink", "CodeBuild's logs")
        raise SystemExit(f"The build ended as {build['buildStatus']}; see {logs}")


def client(environment: str) -> None:
    """Register the first client of the API for the default tenant."""
    with deployed(environment) as opened:
        register_client(opened, outputs(environment, "api")["ClientId"], TENANT)


def train(environment: str, settings: dict[str, Any] | None = None) -> None:
    """Start the training state machine and follow it to its end."""
    config = settings or {}
    machine = outputs(environment, "training")["MachineArn"]
    with deployed(environment, machine) as opened:
        executions = opened.open(TENANT).executions
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        name = f"deploy-{stamp}-{secrets.token_hex(3)}"
        run = {"run_id": name, "tenant": TENANT, "trigger": "deploy", "config": config}
        executions.start("training", name, run)
        began, told = time.monotonic(), -1
        while (execution := executions.describe("training", name)).status == "RUNNING":
            minutes = int(time.monotonic() - began) // 60
            if minutes > told:
                print(f"{name}: running for {minutes} min", flush=True)
                told = minutes
            time.sleep(EVERY)
    decision = (execution.output or {}).get("decision") or {}
    if execution.status != "SUCCEEDED":
        raise SystemExit(f"{execution.status}: {execution.error}: {execution.cause}")
    if not decision.get("deploy"):
        raise SystemExit("\n  - ".join(["The gates refused the model:", *decision["reasons"]]))
    print(f"Published {(execution.output or {})['version']}.")


def release(environment: str) -> None:
    """Make the pointer's bundle, and the latest code, serve every request."""
    with deployed(environment) as opened:
        ports = opened.open(TENANT)
        pointer = current(ports.records)
        if pointer is None:
            print("There is no bundle yet; training releases the first.")
            return
        finish(ports, pointer.version)


def smoke(environment: str) -> None:
    """Ask the API for recommendations with a token of its first client."""
    api = outputs(environment, "api")
    url = api["Url"].rstrip("/")
    request = urllib.request.Request(
        f"{url}/v1/recommendations",
        data=json.dumps({"user_id": "smoke-test", "limit": 5}).encode(),
        headers={
            "Authorization": f"Bearer {_token(api)}",
            "Content-Type": "application/json",
        },
    )
    answer = _asked(request)
    if not answer.get("items"):
        raise SystemExit(f"No recommendations: {answer}")
    print(f"{url} recommends {', '.join(item['video_id'] for item in answer['items'])}")


def retained(environment: str) -> None:
    """Print the resources that outlive the deleted stacks, as a plan for `erase`."""
    cloudformation: Any = boto3.client("cloudformation")
    listed = cloudformation.get_paginator("list_stacks").paginate(StackStatusFilter=STANDING)
    names = [stack["StackName"] for page in listed for stack in page["StackSummaries"]]
    ours = sorted(name for name in names if name.startswith(f"vireo-{environment}-"))
    resources = cloudformation.get_paginator("list_stack_resources")
    found = [
        (resource["ResourceType"], resource["PhysicalResourceId"])
        for name in ours
        for page in resources.paginate(StackName=name)
        for resource in page["StackResourceSummaries"]
        if resource["ResourceType"] in RETAINED
    ]
    print(json.dumps(found, indent=1))


def erase(plan: Path) -> None:
    """Delete the resources of a plan for good. Does not ask: teardown.sh has asked."""
    for kind, name in json.loads(plan.read_text()):
        print(f"erasing {kind} {name}", flush=True)
        try:
            _ERASERS[kind](name)
        except ClientError as error:
            if not error.response["Error"]["Code"].startswith(("ResourceNotFound", "NoSuch")):
                raise


def _erase_table(name: str) -> None:
    dynamodb: Any = boto3.client("dynamodb")
    dynamodb.update_table(TableName=name, DeletionProtectionEnabled=False)
    dynamodb.get_waiter("table_exists").wait(TableName=name)
    dynamodb.delete_table(TableName=name)


def _erase_bucket(name: str) -> None:
    bucket: Any = boto3.resource("s3").Bucket(name)
    bucket.object_versions.delete()
    bucket.delete()


def _erase_pool(name: str) -> None:
    cognito: Any = boto3.client("cognito-idp")
    cognito.update_user_pool(UserPoolId=name, DeletionProtection="INACTIVE")
    cognito.delete_user_pool(UserPoolId=name)


def _erase_key(name: str) -> None:
    kms: Any = boto3.client("kms")
    kms.schedule_key_deletion(KeyId=name, PendingWindowInDays=7)


def _erase_layer(name: str) -> None:
    layer, _, version = name.rpartition(":")
    lambda_: Any = boto3.client("lambda")
    lambda_.delete_layer_version(LayerName=layer, VersionNumber=int(version))


_ERASERS = {
    "AWS::DynamoDB::Table": _erase_table,
    "AWS::S3::Bucket": _erase_bucket,
    "AWS::Cognito::UserPool": _erase_pool,
    "AWS::KMS::Key": _erase_key,
    "AWS::Lambda::LayerVersion": _erase_layer,
}


def _token(api: dict[str, str]) -> str:
    """An access token, obtained as any client would."""
    cognito: Any = boto3.client("cognito-idp")
    described = cognito.describe_user_pool_client(
        UserPoolId=api["UserPoolId"], ClientId=api["ClientId"]
    )["UserPoolClient"]
    pair = f"{api['ClientId']}:{described['ClientSecret']}".encode()
    form = {"grant_type": "client_credentials", "scope": " ".join(SCOPES)}
    request = urllib.request.Request(
        api["TokenUrl"],
        data=urllib.parse.urlencode(form).encode(),
        headers={"Authorization": f"Basic {base64.b64encode(pair).decode()}"},
    )
    return str(_asked(request)["access_token"])


def _asked(request: urllib.request.Request) -> dict[str, Any]:
    """A JSON response, with retries: in a new environment the function may still be starting."""
    for attempt in range(5):
        try:
            with urllib.request.urlopen(request, timeout=35) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == 4:
                raise SystemExit(f"{request.full_url}: {error.code} {error.read()!r}") from None
        except urllib.error.URLError as error:
            if attempt == 4:
                raise SystemExit(f"{request.full_url}: {error.reason}") from None
        time.sleep(EVERY)
    raise AssertionError("unreachable")


COMMANDS: dict[str, Any] = {
    "account": account,
    "gateway-role": gateway_role,
    "image": image,
    "client": client,
    "train": train,
    "release": release,
    "smoke": smoke,
    "retained": retained,
    "erase": erase,
}


if __name__ == "__main__":
    main()
