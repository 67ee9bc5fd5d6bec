"""The commands behind deploy.sh and teardown.sh, against an account on moto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import boto3
import pytest
from moto import mock_aws

from scripts import cloud, replay, rollback
from tests.worlds import bundle
from vireo.bundles import files as bundles
from vireo.bundles import pointer as pointers
from vireo.homes.deployed import deployed, outputs
from vireo.identity import SCOPES
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Missing, Table

#: Ends as its document says.
MACHINE = {
    "StartAt": "How",
    "States": {
        "How": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.trigger", "StringEquals": "deploy", "Next": "Done"}],
            "Default": "Failed",
        },
        "Done": {
            "Type": "Pass",
            "Result": {"decision": {"deploy": True, "reasons": []}, "version": "b1"},
            "End": True,
        },
        "Failed": {"Type": "Fail", "Error": "TooBad", "Cause": "no trigger"},
    },
}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(cloud, "EVERY", 0.05)
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        yield


def test_who_writes_the_gateways_logs(aws: None, capsys: pytest.CaptureFixture[str]) -> None:
    """A role that is there, and that no environment takes along when it goes."""

    def said(arn: str) -> str:
        change = {"op": "replace", "path": "/cloudwatchRoleArn", "value": arn}
        boto3.client("apigateway").update_account(patchOperations=[change])
        cloud.main(["gateway-role"])
        return capsys.readouterr().out.strip()

    cloud.main(["gateway-role"])
    assert capsys.readouterr().out == "", "nobody: as an account is when it is new"
    for name, stays in (
        ("somebody-elses", True),
        ("vireo-account-GatewayLogs1234-ABC", True),
        ("vireo-dev-api-ApiCloudWatchRole73EC6FC4-ABC", False),
    ):
        role = boto3.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        arn = role["Role"]["Arn"]
        assert said(arn) == (arn if stays else "")
    assert said("arn:aws:iam::123456789012:role/deleted-meanwhile") == ""


def stack(part: str, resources: dict[str, Any], values: dict[str, Any]) -> None:
    template = {
        "Resources": resources,
        "Outputs": {name: {"Value": value} for name, value in values.items()},
    }
    boto3.client("cloudformation").create_stack(
        StackName=f"vireo-dev-{part}", TemplateBody=json.dumps(template)
    )


@pytest.fixture
def data(aws: None) -> None:
    """What `stacks.data` makes, as far as these commands see it."""
    keys = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    table = {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": "Retain",
        "Properties": {
            "KeySchema": keys,
            "AttributeDefinitions": [
                {"AttributeName": n, "AttributeType": "S"} for n in ("pk", "sk")
            ],
            "BillingMode": "PAY_PER_REQUEST",
        },
    }
    names = [t.value.title().replace("_", "") for t in Table]
    resources: dict[str, Any] = dict.fromkeys(names, table)
    stream = {"Type": "AWS::Kinesis::Stream", "Properties": {"Name": "events", "ShardCount": 1}}
    resources |= {"Blobs": {"Type": "AWS::S3::Bucket"}, "Events": stream}
    values = {f"{name}TableName": {"Ref": name} for name in names}
    stack(
        "data",
        resources,
        values | {"BucketName": {"Ref": "Blobs"}, "StreamName": {"Ref": "Events"}},
    )
    stack("recommender", {"T": {"Type": "AWS::SNS::Topic"}}, {})


def test_the_account(aws: None, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.main(["account"])
    assert capsys.readouterr().out == "123456789012/eu-west-1\n"


def test_what_is_not_deployed_is_said(aws: None) -> None:
    with pytest.raises(Missing, match="vireo-dev-data"):
        outputs("dev", "data")
    for command in ("image", "client", "train", "smoke"):
        with pytest.raises(SystemExit, match="vireo-dev-"):
            cloud.main([command, "dev"])


def test_dead_letters_of_an_environment_go_back_to_its_stream(
    data: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with deployed("dev") as home:
        letters = DeadLetters(home.open("default").blobs)
        letters.bury(Arrival("anna", b"{}", "shardId-0", 1, 0.0), "of before")
        replay.main(["--environment", "dev", "--again"])
        assert not list(letters.all())
    client: Any = boto3.client("kinesis")
    (shard,) = client.list_shards(StreamName="events")["Shards"]
    start = client.get_shard_iterator(
        StreamName="events", ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )
    (record,) = client.get_records(ShardIterator=start["ShardIterator"])["Records"]
    assert (record["PartitionKey"], record["Data"]) == ("default#anna", b"{}")
    assert "1 sent again, 0 kept" in capsys.readouterr().out


def test_a_client_belongs_to_the_default_tenant(data: None) -> None:
    stack("api", {"T": {"Type": "AWS::SNS::Topic"}}, {"ClientId": "machine"})
    cloud.main(["client", "dev"])
    cloud.main(["client", "dev"])
    with deployed("dev") as home:
        record = home.open("_system").records.get(Table.REGISTRY, "client", "machine")
    assert record is not None
    assert record.item == {"tenant": "default"}


def test_a_release_follows_the_pointer(data: None, capsys: pytest.CaptureFixture[str]) -> None:
    cloud.main(["release", "dev"])
    assert "no bundle yet" in capsys.readouterr().out
    with deployed("dev") as home:
        pointers.switch(home.open("default").records, "b1", expect=None)
    cloud.main(["release", "dev"])
    assert capsys.readouterr().out == ""


def machine(definition: dict[str, Any]) -> None:
    made = boto3.client("stepfunctions").create_state_machine(
        name="training",
        definition=json.dumps(definition),
        roleArn="arn:aws:iam::123456789012:role/machine",
    )
    stack("training", {"T": {"Type": "AWS::SNS::Topic"}}, {"MachineArn": made["stateMachineArn"]})


def test_training_is_followed_to_its_end(data: None, capsys: pytest.CaptureFixture[str]) -> None:
    machine(MACHINE)
    cloud.main(["train", "dev"])
    assert capsys.readouterr().out.endswith("Published b1.\n")


def test_training_gets_the_settings_of_a_file(data: None, tmp_path: Path) -> None:
    machine(MACHINE)
    settings = tmp_path / "settings.json"
    settings.write_text('{"tower": {"user_ids": true}}')
    cloud.main(["train", "dev", "--settings", str(settings)])
    states: Any = boto3.client("stepfunctions")
    (arn,) = (m["stateMachineArn"] for m in states.list_state_machines()["stateMachines"])
    (run,) = states.list_executions(stateMachineArn=arn)["executions"]
    document = json.loads(states.describe_execution(executionArn=run["executionArn"])["input"])
    assert document["config"] == {"tower": {"user_ids": True}}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"Type": "Fail", "Error": "TooBad", "Cause": "why not"}, "FAILED: TooBad: why not"),
        (
            {
                "Type": "Pass",
                "Result": {"decision": {"deploy": False, "reasons": ["too weak"]}},
                "End": True,
            },
            "refused the model:\n  - too weak",
        ),
    ],
)
def test_a_training_that_ends_badly_fails(data: None, state: dict[str, Any], said: str) -> None:
    machine({"StartAt": "End", "States": {"End": state}})
    with pytest.raises(SystemExit, match=said):
        cloud.main(["train", "dev"])


def test_an_image_that_is_there_is_not_built_again(
    aws: None, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr: Any = boto3.client("ecr")
    ecr.create_repository(repositoryName="training")
    values = {"RepositoryName": "training", "ImageTag": "abc", "BuildProject": "build"}
    stack("images", {"T": {"Type": "AWS::SNS::Topic"}}, values)
    codebuild: Any = boto3.client("codebuild")
    codebuild.create_project(
        name="build",
        source={"type": "S3", "location": "bucket/key"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "ARM_CONTAINER", "image": "x", "computeType": "BUILD_GENERAL1_LARGE"},
        serviceRole="arn:aws:iam::123456789012:role/service-role/build",
    )
    cloud.main(["image", "dev"])
    assert "CodeBuild makes" in capsys.readouterr().out
    assert len(codebuild.list_builds_for_project(projectName="build")["ids"]) == 1
    manifest = {"schemaVersion": 2, "mediaType": "x", "config": {"digest": "x"}, "layers": []}
    ecr.put_image(repositoryName="training", imageTag="abc", imageManifest=json.dumps(manifest))
    cloud.main(["image", "dev"])
    assert "is there" in capsys.readouterr().out
    assert len(codebuild.list_builds_for_project(projectName="build")["ids"]) == 1


class Gateway(BaseHTTPRequestHandler):
    """Answers as Cognito's token endpoint and as the API; at first it is not ready."""

    asked: ClassVar[list[tuple[str, str, bytes]]] = []
    items: ClassVar[list[dict[str, str]]] = [{"video_id": "v1"}, {"video_id": "v2"}]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, self.headers["Authorization"], body))
        starting = len(self.asked) == 2
        self.send_response(503 if starting else 200)
        self.end_headers()
        answer = {"access_token": "t-1"} if "oauth2" in self.path else {"items": self.items}
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        """Tests are quiet."""


def test_the_smoke_test_asks_with_a_real_token(
    aws: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cognito: Any = boto3.client("cognito-idp")
    pool = cognito.create_user_pool(PoolName="callers")["UserPool"]["Id"]
    client = cognito.create_user_pool_client(
        UserPoolId=pool, ClientName="service", GenerateSecret=True
    )["UserPoolClient"]
    monkeypatch.setattr(Gateway, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    values = {"Url": f"{url}/live/", "TokenUrl": f"{url}/oauth2/token"}
    values |= {"UserPoolId": pool, "ClientId": client["ClientId"]}
    stack("api", {"T": {"Type": "AWS::SNS::Topic"}}, values)
    try:
        cloud.main(["smoke", "dev"])
        assert "recommends v1, v2" in capsys.readouterr().out
        (path, basic, form), _, (asked, bearer, _) = Gateway.asked
        assert path == "/oauth2/token"
        assert basic.startswith("Basic ")
        assert all(scope.replace("/", "%2F") in form.decode() for scope in SCOPES)
        assert (asked, bearer) == ("/live/v1/recommendations", "Bearer t-1")
        monkeypatch.setattr(Gateway, "items", [])
        with pytest.raises(SystemExit, match="No recommendations"):
            cloud.main(["smoke", "dev"])
    finally:
        server.shutdown()


def test_erasing_takes_what_the_stacks_leave(
    data: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    s3: Any = boto3.client("s3")
    other = {"CreateBucketConfiguration": {"LocationConstraint": "eu-west-1"}}
    s3.create_bucket(Bucket="somebody-elses", **other)
    bucket = outputs("dev", "data")["BucketName"]
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for text in (b"1", b"2"):
        s3.put_object(Bucket=bucket, Key="default/events/x", Body=text)
    s3.delete_object(Bucket=bucket, Key="default/events/x")
    cloud.main(["retained", "dev"])
    plan = tmp_path / "plan.json"
    plan.write_text(capsys.readouterr().out)
    kinds = sorted(kind for kind, _ in json.loads(plan.read_text()))
    assert kinds == ["AWS::DynamoDB::Table"] * len(Table) + ["AWS::S3::Bucket"]
    cloud.main(["erase", str(plan)])
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["somebody-elses"]
    assert boto3.client("dynamodb").list_tables()["TableNames"] == []
    cloud.main(["erase", str(plan)])


def test_pools_keys_and_layers_are_erased(aws: None, tmp_path: Path) -> None:
    cognito: Any = boto3.client("cognito-idp")
    kms: Any = boto3.client("kms")
    pool = cognito.create_user_pool(PoolName="p", DeletionProtection="ACTIVE")["UserPool"]["Id"]
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps([["AWS::Cognito::UserPool", pool], ["AWS::KMS::Key", key]]))
    cloud.main(["erase", str(plan)])
    assert cognito.list_user_pools(MaxResults=10)["UserPools"] == []
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert set(cloud._ERASERS) == cloud.RETAINED


def test_a_deployed_environment_can_be_rolled_back(
    data: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with deployed("dev") as home:
        ports = home.open("default")
        pointer = None
        for version in ("b1", "b2"):
            bundles.publish(bundle(version=version), ports.blobs)
            ports.records.put(Table.REGISTRY, "models", version, {})
            pointer = pointers.switch(ports.records, version, expect=pointer)
    rollback.main(["--environment", "dev"])
    assert capsys.readouterr().out == "b2 served; b1 serves now.\n"
    with pytest.raises(SystemExit, match="vireo-prod-data"):
        rollback.main(["--environment", "prod"])
