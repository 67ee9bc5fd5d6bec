"""A bundle becomes a version of the serving function; requests are shifted to it, or come back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from recommend.app import build
from tests import serving_function
from tests.worlds import bundle, catalogue
from vireo.bundles import files as bundles
from vireo.bundles import pointer as pointers
from vireo.homes.aws import AwsHome
from vireo.homes.local import home as local_home
from vireo.homes.meter import LocalMeter
from vireo.jobs.progress import silent
from vireo.ports import Ports, Refused, Table, Withdrawn
from vireo.recommender.serving import NoModel, Serving, View
from vireo.settings import Settings
from vireo.training.run import Run
from vireo.training.steps import TRAINING, release

TABLES: dict[str, Any] = {f"{t}_table": f"t-{t}" for t in Table}
SETTINGS = Settings(bucket="b", stream="s", serving_function="recommend", **TABLES)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An account with the serving function, its alias, and a deployment group."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with mock_aws(config=serving_function.CONFIG):
        yield serving_function.make("recommend", {"VIREO_BUCKET": "b"}, "app/group", monkeypatch)


def opened(tmp_path: Path, tenant: str = "default", **changes: str) -> Ports:
    settings = SETTINGS.model_copy(update={"scratch": str(tmp_path), **changes})
    return AwsHome(settings, meter=LocalMeter()).open(tenant)


def live(lambda_: Any) -> dict[str, Any]:
    """Bundles of the version that the alias names."""
    found = lambda_.get_function_configuration(FunctionName="recommend", Qualifier="live")
    variables = found["Environment"]["Variables"]
    assert variables["VIREO_BUCKET"] == "b", "other variables stay"
    serves: dict[str, Any] = json.loads(variables.get("VIREO_SERVES", "{}"))
    return serves


def test_without_alarms_the_alias_moves_at_once(aws: Any, tmp_path: Path) -> None:
    assert live(aws) == {}
    releases = opened(tmp_path).releases
    assert releases.begin("b1") is None
    assert live(aws) == {"default": "b1"}
    assert opened(tmp_path, "acme").releases.begin("a1") is None
    assert releases.begin("b2") is None
    assert live(aws) == {"default": "b2", "acme": "a1"}


def test_after_a_deployment_every_tenant_is_served_what_was_live(aws: Any, tmp_path: Path) -> None:
    opened(tmp_path).releases.begin("b1")
    opened(tmp_path, "acme").releases.begin("a1")
    # what CloudFormation does to a function that has changed: the template's variables, no others
    variables = {"VIREO_BUCKET": "b", "VIREO_NEW": "setting"}
    aws.update_function_configuration(
        FunctionName="recommend", Environment={"Variables": variables}
    )
    assert live(aws) == {"default": "b1", "acme": "a1"}, "the alias' version is as it was"
    opened(tmp_path).releases.begin("b1")
    assert live(aws) == {"default": "b1", "acme": "a1"}
    found = aws.get_function_configuration(FunctionName="recommend", Qualifier="live")
    assert found["Environment"]["Variables"]["VIREO_NEW"] == "setting"


def test_beginning_again_does_no_harm(aws: Any, tmp_path: Path) -> None:
    releases = opened(tmp_path).releases
    for _ in range(2):
        assert releases.begin("b1") is None
    assert live(aws) == {"default": "b1"}
    versions = aws.list_versions_by_function(FunctionName="recommend")["Versions"]
    assert len(versions) == 3, "$LATEST, the first and one more"


def test_with_a_group_codedeploy_shifts_the_alias(aws: Any, tmp_path: Path) -> None:
    releases = opened(tmp_path, serving_group="app/group").releases
    begun = releases.begin("b1")
    assert begun is not None
    assert live(aws) == {}, "not yet"
    codedeploy: Any = boto3.client("codedeploy")
    info = codedeploy.get_deployment(deploymentId=begun)["deploymentInfo"]
    assert (info["applicationName"], info["deploymentGroupName"]) == ("app", "group")
    (resource,) = json.loads(info["revision"]["appSpecContent"]["content"])["Resources"]
    assert resource["recommend"]["Properties"] == {
        "Name": "recommend",
        "Alias": "live",
        "CurrentVersion": "1",
        "TargetVersion": "2",
    }


@pytest.mark.parametrize(
    ("status", "done"), [("Created", False), ("InProgress", False), ("Succeeded", True)]
)
def test_a_release_is_done_when_codedeploy_is(
    aws: Any, tmp_path: Path, status: str, done: bool
) -> None:
    assert answered(tmp_path, {"status": status}) == done


@pytest.mark.parametrize("status", ["Failed", "Stopped"])
def test_a_release_that_is_rolled_back_is_withdrawn(aws: Any, tmp_path: Path, status: str) -> None:
    error = {"code": "ALARM_ACTIVE", "message": "RecommendSlow"}
    with pytest.raises(Withdrawn, match=f"{status}: RecommendSlow"):
        answered(tmp_path, {"status": status, "errorInformation": error})


def answered(tmp_path: Path, info: dict[str, Any]) -> bool:
    """What is said of a release of which CodeDeploy says that."""
    settings = SETTINGS.model_copy(update={"scratch": str(tmp_path)})
    home = AwsHome(settings, meter=LocalMeter())
    with Stubber(home.clients("codedeploy")) as codedeploy:
        asked = {"deploymentId": "d-1"}
        codedeploy.add_response("get_deployment", {"deploymentInfo": info}, asked)
        return home.open("default").releases.finished("d-1")


def test_a_bundle_that_cannot_be_loaded_never_serves(aws: Any, tmp_path: Path) -> None:
    """Lambda could not take the snapshot: the version fails, and the alias stays."""
    settings = SETTINGS.model_copy(update={"scratch": str(tmp_path)})
    home = AwsHome(settings, meter=LocalMeter())
    client = home.clients("lambda")

    def failed(parsed: dict[str, Any], **_: Any) -> None:
        if parsed.get("Version") == "2":
            parsed |= {"State": "Failed", "StateReason": "init failed"}

    client.meta.events.register("after-call.lambda.GetFunctionConfiguration", failed)
    with pytest.raises(Withdrawn, match="b1 cannot be loaded"):
        home.open("default").releases.begin("b1")
    assert live(aws) == {}


def test_more_tenants_than_there_is_room_for_are_refused(aws: Any, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="too many tenants"):
        opened(tmp_path).releases.begin("b" * 5000)
    assert live(aws) == {}


class Shifting:
    """Releases that take two looks, or are withdrawn."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails, self.looks = fails, 0

    def begin(self, version: str) -> str:
        return f"shift-{version}"

    def finished(self, release: str) -> bool:
        assert release == "shift-b2"
        self.looks += 1
        if self.fails:
            raise Withdrawn("alarm")
        return self.looks == 2


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    found = local_home(tmp_path, meter=LocalMeter()).open("default")
    for version in ("b1", "b2"):
        bundles.publish(bundle(catalogue(40), version=version), found.blobs)
        pointers.switch(found.records, version, expect=pointers.current(found.records))
    return found


def step(document: dict[str, Any], ports: Ports) -> dict[str, Any]:
    return TRAINING.perform("release", document, ports, silent)


def test_where_processes_follow_the_pointer_it_serves_at_once(ports: Ports) -> None:
    document = step({"run_id": "b2", "version": "b2"}, ports)
    assert (document["release"], document["released"]) == (None, True)


def test_the_step_goes_on_where_it_was(ports: Ports) -> None:
    shifting = replace(ports, releases=Shifting())
    document: dict[str, Any] = {"run_id": "b2", "version": "b2"}
    seen = []
    for _ in range(3):
        document = step(document, shifting)
        seen.append((document["release"], document["released"]))
    assert seen == [("shift-b2", False), ("shift-b2", False), ("shift-b2", True)]


def test_a_withdrawn_release_takes_the_pointer_back(ports: Ports) -> None:
    withdrawn = replace(ports, releases=Shifting(fails=True))
    run = release(Run(run_id="b2", version="b2"), withdrawn, lambda share, what: None)
    for _ in range(2):  # a second failure finds the pointer where it belongs
        with pytest.raises(Withdrawn):
            release(run, withdrawn, lambda share, what: None)
        pointer = pointers.current(ports.records)
        assert pointer is not None
        assert pointer.version == "b1"


def test_models_are_loaded_before_the_first_request(tmp_path: Path, ports: Ports) -> None:
    home = local_home(tmp_path)
    loaded: list[str] = []
    view = Serving.view

    def seen(serving: Serving) -> tuple[View, list[str]]:
        found = view(serving)
        loaded.append(found[0].snapshot.bundle.version)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Serving, "view", seen)
        build(home, ["default"])
    assert loaded == ["b2"]
    with pytest.raises(NoModel):
        build(home, ["somebody-else"])


def test_settings_name_the_bundles() -> None:
    made_for = SETTINGS.model_copy(update={"serves": '{"default": "b1"}'})
    assert Settings.from_env(made_for.as_env()).bundles() == {"default": "b1"}
    assert SETTINGS.bundles() == {}
