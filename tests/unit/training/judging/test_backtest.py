"""Systems are asked the same, held to the same rules, and printed, written and compared."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import orjson
import pytest

from scripts import backtest as command
from tests import oracles_evaluation as oracle
from tests.tiny import tiny
from vireo.recommender.steering.controls import Controls
from vireo.recommender.steering.tuning import Tuning
from vireo.training.data import metrics
from vireo.training.data.activity import Activity
from vireo.training.data.log import Log
from vireo.training.data.requests import Requests, Split, successive, temporal
from vireo.training.judging import baselines
from vireo.training.judging.backtest import (
    Answers,
    BaselineSystem,
    Evaluation,
    StageSystem,
    answer,
    evaluate,
    fitted_baselines,
    list_lines,
)
from vireo.training.judging.served import measure
from vireo.training.models.replay import Stage


class Staged:
    """In the place of a trained model: stages that are popularity with something left out."""

    def __init__(self, log: Log, split: Split) -> None:
        self.popularity = fitted_baselines(log, split, names=["Popularity"])[0]

    def lists(self, requests: Requests, stage: Stage, k: int) -> metrics.Lists:
        lists = self.popularity.lists(requests, k)
        return lists if stage == "ranked" else lists[:, ::-1].copy()


def evaluated(log: Log, split: Split) -> Evaluation:
    model = Staged(log, split)
    stages = [StageSystem("Ranked", "ranked", model), StageSystem("Final", "final", model)]
    baseline = fitted_baselines(log, split, names=["Popularity", "EASE"], tune=False)
    return evaluate([*stages, *baseline], split, log, draws=200)


def test_ours_are_compared_with_the_references() -> None:
    log = oracle.random_log(0, n=900)
    evaluation = evaluated(log, successive(log))
    pairs = {(c.system, c.reference) for c in evaluation.comparisons}
    assert pairs == {
        (s, r) for s in ("Ranked", "Final") for r in ("Popularity", "EASE")
    }  # fmt: skip
    for c in evaluation.comparisons:
        chosen = metrics.in_pause(evaluation.requests, c.pause)
        ours, theirs = (evaluation[n].values[c.metric][chosen] for n in (c.system, c.reference))
        assert c.interval.mean == pytest.approx((ours - theirs).mean())
        if (c.system, c.reference) == ("Ranked", "Popularity"):
            assert c.interval.mean == 0


def test_figures_are_means_over_requests() -> None:
    log = oracle.random_log(1, n=900)
    split = temporal(log)
    figures = evaluated(log, split).as_dict()
    assert figures["protocol"] == "temporal"
    assert figures["viewers"] == figures["requests"] == len(split.test)
    assert figures["targets"] == split.test.n_targets.sum()
    popularity = baselines.tuned(baselines.GRID["Popularity"], log, split)
    lists = baselines.rank(popularity, log, split.test, 100)
    values = metrics.per_request(lists, split.test)
    shown = next(s for s in figures["systems"] if s["name"] == "Popularity")
    assert shown["by_pause"]["all"]["ndcg@10"] == values["ndcg@10"].mean()
    assert shown["coverage"]["@10"] == metrics.coverage(lists, log.n_videos, 10)


def test_a_system_that_recommends_the_seen_is_refused() -> None:
    log = oracle.random_log(2)
    split = temporal(log)

    class Stale:
        name = "Stale"
        longest = 100

        def lists(self, requests: Requests, k: int) -> metrics.Lists:
            histories = requests.histories(log)
            return histories.video[histories.offsets[:-1], None]

    with pytest.raises(ValueError, match="Stale recommends what its viewer has met"):
        answer(Stale(), split.test, log)


def test_lists_carry_the_ids_of_the_data() -> None:
    log = oracle.random_log(3)
    split = successive(log, cap=2)
    lists = np.full((len(split.test), 3), -1, np.int32)
    lists[:, :2] = [0, 1]
    answers = Answers("X", lists, {})
    evaluation = Evaluation("successive", split.test, log.n_videos, [answers], [])
    lines = [line.split() for line in list_lines(answers, evaluation, log)]
    asked: dict[str, int] = {}
    for (name, *videos), user in zip(lines, split.test.user.tolist(), strict=True):
        number = asked.get(log.people.ids[user].decode(), 0)
        assert name == f"{log.people.ids[user].decode()}#{number}"
        asked[log.people.ids[user].decode()] = number + 1
        assert videos == [v.decode() for v in log.videos.ids[:2]]
    whole = Evaluation("temporal", split.test, log.n_videos, [answers], [])
    assert next(iter(list_lines(answers, whole, log))).split()[0] == lines[0][0].split("#")[0]


def test_the_command_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = oracle.random_log(4, n=900)
    prepared = Namespace(log=log)
    monkeypatch.setattr("vireo.training.data.preprocess.read", lambda folder, now: prepared)
    command.main(
        ["--data", "anywhere", "--split", "successive", "--systems", "Popularity,Openers,EASE",
         "--out", str(tmp_path / "out.json"), "--lists", str(tmp_path / "lists.txt")]
    )  # fmt: skip
    printed = capsys.readouterr().out
    for words in ("recall@100", "Openers", "hit@10 after a pause", "differences"):
        assert words in printed
    document = orjson.loads((tmp_path / "out.json").read_bytes())
    assert document["options"]["split"] == "successive"
    (run,) = document["runs"]
    assert (run["cut"], run["seed"], document["together"]) == (0.8, 1, [])
    assert [s["name"] for s in run["systems"]] == ["Popularity", "EASE", "Openers"]
    figure = run["systems"][0]["by_pause"]["all"]["ndcg@10"]
    assert f"{figure:.4f}" in printed
    files = sorted(p.name for p in tmp_path.iterdir())
    assert files == ["lists.ease.txt", "lists.openers.txt", "lists.txt", "out.json"]
    assert len((tmp_path / "lists.txt").read_text().splitlines()) == run["requests"]


def test_runs_are_pooled_by_viewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = oracle.random_log(4, n=900)
    monkeypatch.setattr(
        "vireo.training.data.preprocess.read", lambda folder, now: Namespace(log=log)
    )
    command.main(
        ["--data", "anywhere", "--cut", ".6", ".8", "--seed", "1", "2", "--untuned",
         "--systems", "Popularity,EASE", "--out", str(tmp_path / "out.json")]
    )  # fmt: skip
    document = orjson.loads((tmp_path / "out.json").read_bytes())
    runs = document["runs"]
    assert [(r["cut"], r["seed"]) for r in runs] == [(0.6, 1), (0.6, 2), (0.8, 1), (0.8, 2)]
    for pooled in document["together"]:
        same = [
            next(d for d in r["differences"] if all(d[k] == pooled[k] for k in
                 ("system", "reference", "metric", "pause")))
            for r in runs
        ]  # fmt: skip
        assert pooled["requests"] == sum(d["requests"] for d in same)
        assert pooled["viewers"] < sum(d["viewers"] for d in same)
        weighted = np.average([d["mean"] for d in same], weights=[d["requests"] for d in same])
        assert pooled["mean"] == pytest.approx(weighted)
        assert pooled["low"] <= pooled["mean"] <= pooled["high"]
    assert "all runs together" in capsys.readouterr().out


def test_served_lists_are_printed_with_what_each_rule_costs() -> None:
    replay, requests = tiny([0, 5, 30] * 10)
    log = replay.log
    split = Split("temporal", np.zeros(0, bool), np.zeros(0, bool), requests, requests)
    measured = measure(replay, requests)
    found = evaluate([measured], split, log, draws=100)
    assert found.served is measured
    printed = command.table(found.as_dict())
    lines = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.strip()}
    ranked, listed = (measured.figures(kind) for kind in (measured.ranked, measured.listed))
    for name in ("ndcg@10", "channels", "displaced", "reach"):
        assert lines[name] == [f"{ranked[name]:.4f}", f"{listed[name]:.4f}"]
    cost = measured.cost("hit@20")
    assert cost is not None
    assert f"{cost.mean:+.1%} [{cost.low:+.1%}, {cost.high:+.1%}]" in printed
    assert "The ranker is not heard: the model has none" in printed
    assert "–" in next(line for line in printed.splitlines() if line.startswith("Served list"))


@pytest.mark.parametrize(
    "options",
    [["--lists", "x", "--seed", "1", "2"], ["--split", "leave-one-out", "--cut", "1", "2"]],
)
def test_what_needs_one_run_is_refused_with_several(options: list[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--data", "x", *options])


def test_the_command_knows_its_systems(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--data", "x", "--systems", "ours,Oracle"])
    assert "unknown systems: Oracle" in capsys.readouterr().err


def test_baselines_are_named_systems() -> None:
    log = oracle.random_log(5)
    split = temporal(log)
    told: list[str] = []
    systems = fitted_baselines(log, split, progress=lambda share, what: told.append(what))
    assert [s.name for s in systems] == list(baselines.GRID)
    assert told == [f"fitting {name}" for name in baselines.GRID]
    assert all(isinstance(s, BaselineSystem) for s in systems)


@pytest.mark.parametrize("protocol", ["temporal", "successive", "leave-one-out"])
def test_nothing_of_the_test_reaches_training(
    protocol: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = oracle.random_log(6, n=900)
    n = len(log)
    nothing = np.zeros(n, np.float32)
    activity = Activity(
        user=log.user,
        video=log.video,
        type=np.zeros(n, np.int8),
        time=log.time,
        seconds=nothing,
        fraction=nothing,
        place=np.full(n, -1, np.int32),
        recommended=np.zeros(n, bool),
        n_videos=log.n_videos,
    )
    prepared = Namespace(log=log, activity=activity)
    learnt: list[tuple[Log, Activity | None]] = []

    def train(log: Log, activity: Activity | None, *rest: object, **more: object) -> list[object]:
        learnt.append((log, activity))
        return [None, None, None]

    class Model:
        """Answers as popularity does."""

        def __init__(self, bundle: object, log: Log, activity: Activity | None) -> None:
            split = command.split_of(log, Namespace(split=protocol, cut=0.8, cap=20, sample_seed=0))
            self.stages = Staged(log, split)

        def lists(self, requests: Requests, stage: Stage, k: int) -> metrics.Lists:
            return self.stages.lists(requests, stage, k)

    monkeypatch.setattr("vireo.training.data.preprocess.read", lambda folder, now: prepared)
    monkeypatch.setattr("vireo.training.models.recipe.train", train)
    monkeypatch.setattr(command, "Replay", Model)
    tried: list[Tuning] = []

    def measured(model: Model, *_: object, controls: Controls, **__: object) -> StageSystem:
        tried.append(controls.tuning)
        return StageSystem("Served list", "final", model)

    monkeypatch.setattr(command, "measure", measured)
    (tmp_path / "tuning.json").write_text('{"explore_slots": 3}')
    tuning = ["--tuning", str(tmp_path / "tuning.json")]
    command.main(["--data", "x", "--split", protocol, "--systems", "ours,Popularity", *tuning])
    assert tried == [Tuning(explore_slots=3)]
    printed = capsys.readouterr().out
    assert "the strongest baseline by ndcg@10: Popularity" in printed
    for name in command.STAGES.values():
        assert name in printed
    ((events, happened),) = learnt
    split = command.split_of(log, Namespace(split=protocol, cut=0.8, cap=20, sample_seed=0))
    assert (events.video == log.video[split.fit]).all()
    assert (events.time == log.time[split.fit]).all()
    if protocol == "leave-one-out":
        assert happened is None
    else:
        assert happened is not None
        assert happened.time.max() < log.time[~split.fit].min()
