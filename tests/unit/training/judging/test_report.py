"""The report shows every figure it was given, is one file, and is the same every time."""

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from math import nan
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest

from tests import oracles_evaluation as oracle
from tests.tiny import tiny
from vireo.training.data.requests import successive, temporal
from vireo.training.judging import charts, report
from vireo.training.judging.backtest import evaluate, fitted_baselines
from vireo.training.judging.gates import Verdict
from vireo.training.judging.served import measure

PASSED = Verdict("retrieval Recall@100", 0.31234, 0.1, True, "0.3123 [0.30, 0.33] reaches 0.1")
REFUSED = Verdict("ranker AUC, candidates", 0.52, 0.6, False, "0.52 is below 0.6 <for certain>")


@cache
def contents() -> report.Contents:
    log = oracle.random_log(0, n=3000, n_users=60, n_videos=120)
    splits = (temporal(log), successive(log))
    names = ["Popularity", "EASE", "Openers"]
    evaluations = [
        evaluate(
            fitted_baselines(log, split, names=names, tune=False), split, log, draws=100
        ).as_dict()
        for split in splits
    ]
    return report.Contents(
        title="Training of bundle b-1",
        run={"run": "r-1", "tenant": "default"},
        ours="Openers",
        verdicts=[PASSED],
        evaluations=evaluations,
        data={"events": 3000},
        losses={"Tower": {"training": [3.0, 2.0], "validation": [3.1, 2.4]}},
        importance={"tower score": 7.5, "hour": 0.5},
        config={"tower": {"epochs": 20, "early_stopping": True}, "candidates": 500},
    )


@cache
def page() -> str:
    return report.render(contents())


class Tags(HTMLParser):
    """Checks that tags are closed in order, and keeps attributes that would load something."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [v for k, v in attrs if k in ("src", "href") and v]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_is_one_whole_page() -> None:
    tags = Tags()
    tags.feed(page())
    assert tags.open == []
    assert not [v for v in tags.loads if not v.startswith("#")]
    assert "@import" not in page()
    assert page().count("<svg") == 2 + 2 * len(contents().evaluations)


def test_shows_the_figures() -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page()))
    for evaluation in contents().evaluations:
        for system in evaluation["systems"]:
            for metric in report.METRICS:
                assert f"{system['by_pause']['all'][metric]:.4f}" in text
            for pause in charts.STEPS:
                if pause in system["by_pause"]:
                    assert f"{system['by_pause'][pause]['hit@10']:.4f}" in text
    for words in ("Accepted.", "0.3123", "tower.epochs", "early_stopping", "yes", "3,000", "r-1"):
        assert words in text
    rows = re.findall(r'<tr class="ours"><td>(.*?)</td>', page())
    assert rows == ["Openers"] * 4


@cache
def served() -> dict[str, Any]:
    """The figures of the served lists of a tiny world."""
    replay, requests = tiny([0, 5, 30] * 10)
    measured = measure(replay, requests, names=("Ours", "Ours, served"))
    return measured.as_dict()


def test_served_lists_stand_beside_the_ranked_candidates() -> None:
    first, *others = contents().evaluations
    with_served = [{**first, "served": served()}, *others]
    told = report.render(replace(contents(), evaluations=with_served))
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", told))
    assert text.count("As served: lists of 20") == 1
    for kind in served()["lists"]:
        for column in report.LISTS:
            assert report._figure(kind[column]) in text
    for cost in served()["costs"]:
        assert f"{cost['rule']} {cost['metric']} {report.change(cost)}" in text
    assert "The ranker is not heard: the model has none" in text
    assert "Share of places whose title stands above already." in text


def test_a_strongest_baseline_is_named() -> None:
    for evaluation in contents().evaluations:
        assert f"The strongest baseline on these requests is {evaluation['strongest']}." in page()
        systems = {s["name"]: s["by_pause"]["all"]["ndcg@10"] for s in evaluation["systems"]}
        assert systems[evaluation["strongest"]] == max(systems.values())


def test_a_change_that_nothing_speaks_for() -> None:
    assert report.change({"mean": -0.125, "low": -0.2, "high": 0.01, "viewers": 9}) == (
        "-12.5% [-20.0%, +1.0%]"
    )
    assert report.change({"mean": -0.125, "low": nan, "high": nan, "viewers": 1}) == "-12.5%"
    assert report.change({"rule": "all", "metric": "hit@20"}) == "nothing was found"


def test_says_what_refused_and_escapes() -> None:
    refused = report.render(report.Contents("<b>&", {}, "ours", [PASSED, REFUSED], []))
    assert "Refused." in refused
    assert "1 of 2 gates did not pass" in refused
    assert "is below 0.6 &lt;for certain&gt;" in refused
    assert "<title>&lt;b&gt;&amp;</title>" in refused


def test_the_same_run_gives_the_same_bytes() -> None:
    assert report.render(contents()) == page()
    assert report.document(contents()) == report.document(contents())


def test_empty_sections_are_left_out() -> None:
    bare = report.Contents("Nothing learnt", {}, "ours", [REFUSED], [])
    bare_page = report.render(bare)
    assert "Refused." in bare_page
    for heading in ("Training</h2>", "Data</h2>", "Settings</h2>", "Protocol"):
        assert heading not in bare_page


def test_json_beside_it_holds_the_same() -> None:
    unmeasured = replace(PASSED, value=float("nan"))
    document = orjson.loads(report.document(replace(contents(), verdicts=[unmeasured, REFUSED])))
    assert document["accepted"] is False
    assert document["verdicts"][0]["value"] is None
    expected = contents().evaluations[0]["systems"][0]["by_pause"]["all"]["ndcg@10"]
    assert document["evaluations"][0]["systems"][0]["by_pause"]["all"]["ndcg@10"] == expected


@pytest.mark.parametrize(
    "svg",
    [
        lambda: charts.curves({"A": {"x": [1.0]}, "B": {"y": [2.0, 1.0]}}),
        lambda: charts.importance({f"f{j}": float(j) for j in range(40)}),
        lambda: charts.by_pause(contents().evaluations[1], "EASE", ("hit@10",)),
        lambda: charts.differences(contents().evaluations[1], "Openers"),
    ],
)
def test_pictures_are_drawings(svg: Any) -> None:
    text = svg()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert text == svg()
    assert "<image" not in text


def test_importance_shows_the_most_important() -> None:
    text = charts.importance({f"f{j:02d}": float(j) for j in range(40)}, most=3)
    assert [n for n in re.findall(r"f\d\d", text) if n >= "f35"]
    assert "f36" not in text
    assert text.index("f37") < text.index("f38") < text.index("f39")  # bars grow upwards
