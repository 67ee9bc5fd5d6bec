"""Gates let through what has learnt, refuse what has not, and say why in plain words."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from tests import oracles_evaluation as oracle
from vireo.training.data import metrics
from vireo.training.data.log import Log
from vireo.training.data.requests import Requests, successive, temporal
from vireo.training.judging import baselines
from vireo.training.judging.duel import Duel
from vireo.training.judging.gates import (
    Champion,
    Contest,
    Evidence,
    Thresholds,
    Verdict,
    accepted,
    judge,
)
from vireo.training.judging.served import COSTS, Kind, Served

Values = NDArray[np.float64]
THRESHOLDS = Thresholds(least_events=1000, least_viewers=30)


def taste_log(strength: float, viewers: int = 200, videos: int = 400, each: int = 30) -> Log:
    """Viewers of twenty tastes; ``strength`` is the share of events that follow the taste."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(viewers), each)
    own = (users % 20) + 20 * rng.integers(0, videos // 20, len(users))
    watched = np.where(rng.random(len(users)) < strength, own, rng.integers(0, videos, len(users)))
    times = rng.random(len(users)) * 1e6
    return oracle.make_log(users.tolist(), watched.tolist(), times.tolist(), videos)


def evidence_on(log: Log, champion: Champion | None = None) -> Evidence:
    """EASE in the place of both models, with popularity as its rival."""
    split = temporal(log)
    fitted = log.take(split.fit)
    model, popularity = baselines.EASE(50).fit(fitted), baselines.Popularity().fit(fitted)

    def contest(requests: Requests, protocol: str) -> Contest:
        def values(baseline: baselines.Baseline) -> dict[str, Values]:
            return metrics.per_request(baselines.rank(baseline, log, requests, 100), requests)

        return Contest(
            protocol, requests, values(model), {"Popularity": values(popularity)}, champion
        )

    candidates = baselines.rank(model, log, split.test, 200)
    relevant = metrics.hits(candidates, split.test)
    scores = model.score(split.test.histories(log))
    ranked = np.where(candidates < 0, np.nan, np.take_along_axis(scores, candidates, axis=1))
    live = successive(log).test
    return Evidence(
        n_events=len(fitted),
        n_videos=log.n_videos,
        requests=split.test,
        retrieval_recall=metrics.per_request(candidates, split.test)["recall@100"],
        retrieval_ndcg=metrics.candidate_ndcg(candidates, split.test),
        ranker_auc=metrics.auc(ranked, relevant),
        ranker_ndcg=metrics.candidate_ndcg(candidates, split.test),
        contests=[contest(split.test, "temporal"), contest(live, "successive")],
    )


@cache
def learnt() -> Evidence:
    return evidence_on(taste_log(0.9))


def by_gate(evidence: Evidence, thresholds: Thresholds = THRESHOLDS) -> dict[str, Verdict]:
    return {v.gate: v for v in judge(evidence, thresholds)}


def test_what_has_learnt_passes() -> None:
    verdicts = judge(learnt(), THRESHOLDS)
    assert accepted(verdicts), [v for v in verdicts if not v.passed]
    assert len({v.gate for v in verdicts}) == len(verdicts)
    assert all(v.why for v in verdicts)
    assert "[" in by_gate(learnt())["ranker AUC, candidates"].why


def test_random_data_is_refused_with_reasons() -> None:
    verdicts = by_gate(evidence_on(taste_log(0.0)))
    assert not accepted(list(verdicts.values()))
    # a hundred of 400 random videos have a recall of a quarter, so a fixed level is no proof
    assert verdicts["retrieval Recall@100"].passed
    for gate in (
        "retrieval better than chance",
        "temporal: learns more than popularity",
        "ranker AUC, candidates",
    ):
        assert not verdicts[gate].passed
    assert "do not show" in verdicts["retrieval better than chance"].why
    assert "below 0.6" in verdicts["ranker AUC, candidates"].why


def test_too_little_data_is_refused_and_said() -> None:
    few = evidence_on(taste_log(0.9, viewers=20, each=12))
    verdicts = by_gate(few)
    assert not verdicts["enough events"].passed
    assert "too few, 1,000 are needed" in verdicts["enough events"].why
    assert not verdicts["enough viewers"].passed
    nothing = replace(few, requests=few.requests.take(slice(0, 0)), contests=[])
    assert not accepted(judge(nothing, THRESHOLDS))
    assert not accepted([])


def test_a_loss_in_one_pause_bucket_refuses() -> None:
    contest = learnt().contests[1]
    late = metrics.in_pause(contest.requests, "1 h–1 day")
    rng = np.random.default_rng(0)
    ours = contest.values["ndcg@10"]
    better = ours - 0.2 + 0.3 * late + rng.normal(0, 0.05, len(ours))
    contest = replace(contest, baselines=dict(contest.baselines, Rival={"ndcg@10": better}))
    verdicts = by_gate(replace(learnt(), contests=[contest]))
    lost = verdicts["successive: not below Rival after 1 h–1 day"]
    assert not lost.passed
    assert lost.value == pytest.approx(-0.1, abs=0.02)
    assert lost.why.endswith("worse")
    others = [v for g, v in verdicts.items() if "Rival" in g and v is not lost]
    assert others
    assert all(v.passed for v in others)


def test_a_loss_within_the_interval_does_not_refuse() -> None:
    contest = learnt().contests[1]
    noise = np.random.default_rng(0).normal(0.002, 0.5, len(contest.requests))
    rival = {"ndcg@10": contest.values["ndcg@10"] + noise}
    contest = replace(contest, baselines=dict(contest.baselines, Rival=rival))
    judged = by_gate(replace(learnt(), contests=[contest]))
    verdicts = [v for g, v in judged.items() if "Rival" in g]
    assert all(v.passed for v in verdicts)
    assert any("no difference is shown" in v.why for v in verdicts)


def test_buckets_with_few_viewers_decide_nothing() -> None:
    contest = learnt().contests[1]
    perfect = {"ndcg@10": np.ones(len(contest.requests))}
    contest = replace(contest, baselines={"Oracle": perfect})
    strict = THRESHOLDS.model_copy(
        update={"least_viewers_in_bucket": 10_000, "beats_popularity": False}
    )
    verdicts = by_gate(replace(learnt(), contests=[contest]), strict)
    asked = [v for g, v in verdicts.items() if "Oracle" in g]
    assert all(v.passed and "too little evidence" in v.why for v in asked)
    assert not all(
        v.passed for g, v in by_gate(replace(learnt(), contests=[contest])).items() if "Oracle" in g
    )


def champion(contest: Contest, theirs: dict[str, Values], shown: int = 0) -> Champion:
    targets = len(contest.requests.target) + shown
    return Champion("v7", 0.0, Duel(contest.requests, contest.values, theirs, targets))


@pytest.mark.parametrize(
    ("lead", "margin", "passed", "words"),
    [
        (0.05, None, False, "worse"),
        (-0.05, None, True, "better"),
        (0.0, None, True, "no difference is shown"),
        (0.0, 0.1, True, "rules out"),
        (0.0, 0.001, False, "does not rule out"),
    ],
)
def test_champion_and_challenger(
    lead: float, margin: float | None, passed: bool, words: str
) -> None:
    contest = learnt().contests[1]
    noise = np.random.default_rng(1).normal(0, 0.1, len(contest.requests))
    theirs = {"ndcg@10": contest.values["ndcg@10"] + lead + noise - noise.mean()}
    contest = replace(contest, champion=champion(contest, theirs))
    thresholds = THRESHOLDS.model_copy(update={"margin": margin})
    verdict = by_gate(replace(learnt(), contests=[contest]), thresholds)[
        "successive: not below the model in production"
    ]
    assert verdict.passed is passed
    assert words in verdict.why
    assert "v7" in verdict.why


def test_a_champion_that_has_seen_the_test_period_is_left_out_and_said() -> None:
    contest = replace(learnt().contests[1], champion=Champion("v7", 86_400.0, None))
    evidence = replace(learnt(), contests=[contest])
    verdicts = judge(evidence, THRESHOLDS)
    assert accepted(verdicts), "all other gates hold"
    (left,) = (v for v in verdicts if v.left_out)
    assert left.why == "left out: v7 has seen the test period, up to 1970-01-02 00:00 UTC"
    strict = by_gate(evidence, THRESHOLDS.model_copy(update={"margin": 0.01}))
    assert not strict[left.gate].passed, "no loss has been ruled out"


def test_few_viewers_do_not_decide_on_a_champion() -> None:
    contest = learnt().contests[1]
    theirs = {"ndcg@10": contest.values["ndcg@10"] + 0.5}
    contest = replace(contest, champion=champion(contest, theirs))
    verdicts = by_gate(
        replace(learnt(), contests=[contest]),
        THRESHOLDS.model_copy(update={"least_viewers_in_bucket": 1_000}),
    )
    verdict = verdicts["successive: not below the model in production"]
    assert verdict.passed
    assert verdict.left_out
    assert verdict.why.endswith("too little evidence: 167 viewers came after what v7 has seen")
    contest = replace(contest, champion=champion(contest, theirs, shown=4_000))
    verdict = by_gate(
        replace(learnt(), contests=[contest]),
        THRESHOLDS.model_copy(update={"least_viewers_in_bucket": 1_000, "margin": 0.01}),
    )["successive: not below the model in production"]
    assert not verdict.passed, "no loss has been ruled out"
    assert verdict.left_out
    assert "something that no model showed them; 4,000 of " in verdict.why


METRICS = dict(zip(("ordering_ndcg", "ordering_hits"), COSTS, strict=True))


def listed(keeps: float, viewers: int = 200) -> Served:
    """Served lists that keep so much of what ranking found, over their viewers."""
    rng = np.random.default_rng(0)
    requests = learnt().contests[1].requests
    requests = requests.take(np.unique(requests.user, return_index=True)[1][:viewers])
    found = rng.uniform(0.2, 1, len(requests))
    left = found * np.clip(rng.normal(keeps, 0.1, len(requests)), 0, None)
    nowhere = np.full((len(requests), 20), -1, np.int32)
    before, after = (Kind("", nowhere, dict.fromkeys(COSTS, values)) for values in (found, left))
    return Served(requests, 400, before, after, without={}, notes=("A note.",))


@pytest.mark.parametrize(
    ("keeps", "most", "passed", "words"),
    [
        (0.6, 0.1, False, "worse than the -10% that are allowed. A note."),
        (0.6, 0.5, True, "within -50%. A note."),
        (0.6, 0.4, True, "not shown to be beyond -40%"),
        (1.3, 0.1, True, "within -10%"),
    ],
)
@pytest.mark.parametrize("setting", METRICS)
def test_a_list_that_costs_too_much_refuses(
    keeps: float, most: float, passed: bool, words: str, setting: str
) -> None:
    contest = replace(learnt().contests[1], served=listed(keeps))
    lenient = {"ordering_ndcg": 1.0, "ordering_hits": 1.0}
    thresholds = THRESHOLDS.model_copy(update=lenient | {setting: most})
    verdicts = judge(replace(learnt(), contests=[contest]), thresholds)
    (verdict,) = (v for v in verdicts if v.gate == f"successive: ordering keeps {METRICS[setting]}")
    assert verdict.passed is passed
    assert accepted(verdicts) is passed, "it alone decides"
    assert words in verdict.why
    assert verdict.value == pytest.approx(keeps - 1, abs=0.03)
    assert verdict.threshold == -most


def test_few_viewers_say_nothing_of_what_ordering_costs() -> None:
    contest = replace(learnt().contests[1], served=listed(0.1, viewers=19))
    verdicts = by_gate(replace(learnt(), contests=[contest]))
    for metric in COSTS:
        verdict = verdicts[f"successive: ordering keeps {metric}"]
        assert verdict.passed
        assert verdict.why == "too little evidence: 19 viewers"


def test_figures_that_nothing_speaks_for_refuse() -> None:
    silent = replace(learnt(), ranker_auc=np.full(len(learnt().requests), np.nan))
    verdict = by_gate(silent)["ranker AUC, candidates"]
    assert not verdict.passed
    assert "no request says anything" in verdict.why
