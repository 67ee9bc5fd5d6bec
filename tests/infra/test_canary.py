"""A version that answers badly is taken back while it has a tenth of the requests, and no other.

The handlers run as two versions of the functions; what each writes goes to the alarms of the
deployment groups, which is all that CodeDeploy looks at.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recommend.app import build
from stacks.emitted import ANSWERING, VERSIONS
from tests.infra import emissions as e
from tests.infra.cloudwatch import CloudWatch
from tests.infra.conftest import Scenes
from tests.infra.faults import Context, Running, running, serve
from tests.infra.running import request
from tests.infra.scenes import MINUTE, Happening, Prod, Scene
from vireo.homes.aws import AwsHome
from vireo.homes.aws.meter import EmfMeter
from vireo.homes.clock import MovableClock
from vireo.ports import Table
from vireo.settings import Settings

#: CodeDeploy's canary: a tenth of the requests for five minutes.
TRIED = 5 * MINUTE


def stopping(scene: Scene) -> dict[str, float | None]:
    """The alarms of the deployment groups, and when each rings."""
    groups = scene.prod.account.properties("AWS::CodeDeploy::DeploymentGroup")
    names = [a["Name"] for _, group in groups for a in group["AlarmConfiguration"]["Alarms"]]
    assert len(names) == 7
    rung = {name[:-8]: scene.rings(name[:-8]) for name in names}
    assert all(one == other for one, other in rung.values())
    return {name: one for name, (one, _) in rung.items()}


def rolled_back(scene: Scene) -> set[str]:
    """Alarms that stop a deployment in time."""
    return {name for name, at in stopping(scene).items() if at is not None and at < TRIED}


@pytest.mark.parametrize(
    ("bad", "good", "alarms"),
    [
        (e.broken_answers, e.recommend, {"RecommendFails"}),
        (e.no_model, e.recommend, {"RecommendFails"}),
        (e.broken_stage, e.recommend, {"RecommendDegrades"}),
        (e.no_viewers, e.recommend, {"RecommendDegrades"}),
        (e.broken_intake, e.events, {"EventsFails"}),
        (e.no_stream, e.events, {"EventsFails"}),
    ],
)
@pytest.mark.parametrize("numbers", [("7", "8"), ("9", "10"), ("99", "100")])
def test_a_version_that_answers_badly_is_taken_back(
    scene: Scenes, bad: Happening, good: Happening, alarms: set[str], numbers: tuple[str, str]
) -> None:
    found = scene(end=TRIED)
    old, new = numbers
    found.emit(good, every=1, version=old)
    found.emit(bad, every=9, version=new)
    assert rolled_back(found) == alarms


def test_a_version_is_looked_at_alone(scene: Scenes) -> None:
    """Of its answers 7% fail; of all together less than 1%, which is no reason."""
    found = scene(end=TRIED)
    found.emit(e.recommend, every=0.25, version="7")
    found.emit(e.recommend, every=2.5, version="8")
    found.emit(e.broken_answers, every=30, version="8")
    assert rolled_back(found) == {"RecommendFails"}
    together = scene(end=TRIED)
    together.emit(e.recommend, every=0.25, version="7")
    together.emit(e.recommend, every=2.5, version="7")
    together.emit(e.broken_answers, every=30, version="7")
    assert rolled_back(together) == set()


def test_one_bad_minute_takes_nothing_back(scene: Scenes) -> None:
    """New processes find the store slow; that is over when they are warm."""
    found = scene(end=TRIED)
    found.emit(e.recommend, every=1, version="7")
    found.emit(e.recommend, every=9, version="8")
    found.emit(e.no_viewers, every=10, version="8", end=MINUTE)
    assert rolled_back(found) == set()


def test_a_good_version_takes_over(scene: Scenes) -> None:
    found = scene(end=3 * TRIED)
    found.emit(e.recommend, every=1, version="7", end=TRIED)
    found.emit(e.recommend, every=9, version="8", end=TRIED)
    found.emit(e.recommend, every=1, version="8", begin=TRIED)
    found.emit(e.events, every=1, version="3")
    assert {name for name, at in stopping(found).items() if at is not None} == set()


def refused(f: Running) -> list[str]:
    """Everything that callers can do wrong, and what a version answers."""
    serve(f.ports)
    recommendations = ("POST", "/v1/recommendations")
    stranger = request(*recommendations, {"user_id": "anna"}, client="stranger")
    nobody = request(*recommendations, {"user_id": "anna"})
    del nobody["requestContext"]["authorizer"]
    form = request(*recommendations, {"user_id": "anna"})
    form["headers"] = {"content-type": "text/html"}
    asked = [
        (nobody, 401),
        (stranger, 403),
        (request("GET", "/v1/videos/nothing"), 404),
        (request("PUT", "/v1/recommendations"), 405),
        (form, 415),
        (request(*recommendations, {"user_id": ""}), 422),
    ]
    lines = []
    for event, status in asked:
        assert f.call(event)["statusCode"] == status
        lines += f.lines
    return lines


def test_what_callers_do_wrong_takes_nothing_back(
    prod: Prod, scene: Scenes, tmp_path: Path
) -> None:
    with running(prod.account, "recommend", tmp_path, "8") as function:
        lines = refused(function)
    found = scene(end=TRIED)
    for line in lines:
        for second in range(int(TRIED)):
            found.cloud.read(line, float(second))
    assert ("Vireo/prod", "AnswerFailed", frozenset({("version", "recommend 8")})) in (
        found.cloud.samples
    )
    assert rolled_back(found) == set()


def test_a_request_that_breaks_the_resolver_itself_failed(prod: Prod, tmp_path: Path) -> None:
    """Lambda counts it as well; API Gateway answers 502."""
    with running(prod.account, "recommend", tmp_path, "8") as function:
        with pytest.raises(KeyError):
            function.call({"requestContext": {}})
        written = [json.loads(line) for line in function.lines]
    assert [line["AnswerFailed"] for line in written] == [[1.0]]


def test_alarms_look_at_every_version_that_answers(prod: Prod, tmp_path: Path) -> None:
    """And at nothing else: of all numbers, what is written is what alarms know."""
    for package in ANSWERING:
        cloud = CloudWatch()
        with running(prod.account, package, tmp_path) as function:
            for number in range(25):
                function.version = str(number)
                function.call(request("GET", "/health"))
                for line in function.lines:
                    cloud.read(line, 0.0)
        failed = [dict(of) for _, name, of in cloud.samples if name == "AnswerFailed"]
        written = {dimensions["version"] for dimensions in failed}
        assert written == set(VERSIONS[package])
        watched = prod.alarm(f"{package.title()}Fails", fills_nothing=False).metrics
        assert {dict(dimensions)["version"] for _, _, dimensions in watched} == written


@pytest.mark.parametrize("context", [None, Context("$LATEST")])
def test_what_has_no_version_counts_for_none(context: Context | None, tmp_path: Path) -> None:
    lines: list[str] = []
    tables = {f"{table}_table": table.value for table in Table}
    settings = Settings(bucket="b", stream="s", scratch=str(tmp_path), **tables)
    meter = EmfMeter("Vireo", MovableClock(), lines.append)
    home = AwsHome(settings, meter=meter)
    home.handler(build(home).resolve)(request("GET", "/health"), context)
    assert lines == []
