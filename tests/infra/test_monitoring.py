"""Metrics that are looked at are metrics that the code writes; every alarm says what to do."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from stacks.emitted import EMITTED
from tests.infra.templates import Templates
from tests.sources import ROOT
from vireo.events.intake import Fate
from vireo.recommender.candidates import Candidates
from vireo.recommender.filtering import Filtering
from vireo.recommender.ordering import Ordering
from vireo.recommender.ranking import Ranking
from vireo.training.run import Run

RUNBOOK = ROOT / "docs" / "operations.md"


def calls() -> Iterator[tuple[str, frozenset[str]]]:
    """Name and dimensions of every metric that the code counts or observes."""
    for path in [*(ROOT / "layers/core/python").rglob("*.py"), *(ROOT / "lambdas").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            if node.func.attr not in {"count", "observe"} or not owner.endswith("meter"):
                continue
            name = node.args[0]
            assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: a name that is made up"
            yield str(name.value), frozenset(str(k.arg) for k in node.keywords)


def test_the_stacks_know_the_metrics_that_the_code_writes() -> None:
    written = set(calls())
    known = {(name, frozenset({of[0]} if of else ())) for name, of in EMITTED.items()}
    assert known == written


def test_values_of_dimensions_are_those_of_the_code() -> None:
    stages = tuple(stage.name for stage in (Candidates, Filtering, Ranking, Ordering))
    assert EMITTED["StageLatency"] == EMITTED["StageFailed"] == ("stage", stages)
    triggers = get_args(Run.model_fields["trigger"].annotation)
    assert EMITTED["TrainingFailed"] == ("trigger", triggers)
    fates = get_args(Fate.model_fields["fate"].annotation)
    assert EMITTED["Events"] == ("fate", fates)
    keeping = (ROOT / "layers/core/python/vireo/training/upkeep.py").read_text()
    kinds = re.findall(r'_remove\(ports, "(\w+)"|kind="(\w+)"', keeping)
    assert EMITTED["Removed"] == ("kind", tuple("".join(pair) for pair in kinds))
    service = (ROOT / "layers/core/python/vireo/recommender/service.py").read_text()
    assert EMITTED["Degraded"] == (
        "part",
        tuple(re.findall(r'_degrade\(degraded, "(\w+)"\)', service)),
    )
    cache = (ROOT / "layers/core/python/vireo/homes/redis_cache.py").read_text()
    operations = tuple(dict.fromkeys(re.findall(r'\.ask\("(\w+)"', cache)))
    assert EMITTED["CacheError"] == EMITTED["CacheSkipped"] == ("operation", operations)


def ours(document: Any) -> Iterator[tuple[str, frozenset[str]]]:
    """Metrics of our namespaces in alarms, wherever they are."""
    if isinstance(document, dict):
        if str(document.get("Namespace", "")).startswith("Vireo/"):
            dimensions = frozenset(d["Name"] for d in document.get("Dimensions", ()))
            yield document["MetricName"], dimensions
        for value in document.values():
            yield from ours(value)
    elif isinstance(document, list):
        for value in document:
            yield from ours(value)


def test_alarms_use_those_metrics_in_the_namespace_of_the_functions(
    clouds: Mapping[str, Templates],
) -> None:
    used = {m for a in clouds["prod"].resources("AWS::CloudWatch::Alarm") for m in ours(a.whole)}
    assert used <= set(calls())
    assert ("RequestLatency", frozenset()) in used
    namespaces = set(re.findall(r'"(Vireo/\w+)"', json.dumps(clouds["prod"].by_stack)))
    assert namespaces == {"Vireo/prod"}


def test_the_dashboard_shows_every_metric_of_ours(cloud: Templates) -> None:
    board = json.dumps(cloud.one("AWS::CloudWatch::Dashboard").properties)
    shown = set(re.findall(rf'Vireo/{cloud.environment}\\",\\"(\w+)\\"', board))
    shown |= set(re.findall(rf'Vireo/{cloud.environment}\\\\",\\\\"(\w+)\\\\"', board))
    assert shown == set(EMITTED)


def alarms(cloud: Templates) -> dict[str, dict[str, Any]]:
    """Alarms by the name that their construct has: the logical id without its hash."""
    return {
        re.sub(r"[0-9A-F]{8}$", "", a.id): a.properties
        for a in cloud.resources("AWS::CloudWatch::Alarm")
    }


def test_every_alarm_tells_somebody_and_has_a_runbook_entry(
    clouds: Mapping[str, Templates],
) -> None:
    found = alarms(clouds["prod"])
    entries = {
        part.split("\n", 1)[0]: part
        for part in re.split(r"^### ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    }
    runbook = {name for name, text in entries.items() if "**Look**" in text}
    assert set(found) == runbook
    for name, alarm in found.items():
        assert "Notices" in json.dumps(alarm["AlarmActions"])
        assert f"docs/operations.md#{name.lower()}" in alarm["AlarmDescription"]
        assert "**Do**" in entries[name]


def test_silence_is_a_fault_where_something_should_go_on(clouds: Mapping[str, Templates]) -> None:
    """What counts faults is missing while there are none."""
    found = alarms(clouds["prod"])
    waited_for = {name for name, a in found.items() if a["TreatMissingData"] == "breaching"}
    assert waited_for == {"NoRequests", "NoEvents", "NothingFollowed", "NoFiles", "TrainingMissing"}
    for name, alarm in found.items():
        below = alarm["ComparisonOperator"] == "LessThanThreshold"
        assert not below or name in waited_for
