"""Gates that decide on deployment; every verdict states its value, threshold and reason.

Absolute thresholds apply to one protocol (`temporal`, for which they are meant). Baselines and
production's model are compared in every protocol, baselines by the pause before the request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vireo.intervals import Interval, Values, difference, interval
from vireo.recommender.pauses import PAUSE_NAMES
from vireo.training.data.metrics import in_pause
from vireo.training.data.requests import Mask, Requests
from vireo.training.judging.duel import Duel
from vireo.training.judging.served import COSTS, Served


class Thresholds(BaseModel):
    """The requirements for a model. Every number is a setting."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    least_events: int = Field(2_000, ge=0, description="events to learn from")
    least_viewers: int = Field(50, ge=2, description="viewers to test on")
    least_viewers_in_bucket: int = Field(
        20, ge=2, description="with fewer, a bucket or a champion is not decided on"
    )
    least_share_since: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="with such a share of all events after what production has seen, the test "
        "period begins there; with less it is as long as usual, since levels fall with shorter "
        "ones, and production, which has seen some of it, is not compared with",
    )
    retrieval_recall: float = Field(0.1, description="Recall@100, full catalogue")
    retrieval_ndcg: float = Field(0.3, description="NDCG@10 on the candidate set")
    ranker_auc: float = Field(0.6, description="AUC within the candidate set")
    ranker_ndcg: float = Field(0.3, description="NDCG@10 on the candidate set")
    beats_popularity: bool = Field(True, description="shown to learn more than popularity")
    metric: str = Field("ndcg@10", description="what rivals are compared by")
    margin: float | None = Field(
        None,
        ge=0,
        description="if set, a loss to the model in production larger than this must be ruled out",
    )
    ordering_ndcg: float = Field(
        0.1,
        ge=0,
        le=1,
        description="refused if the list that is served is shown to lose a larger share of the "
        "ranked candidates' NDCG@10, under the tuning in force",
    )
    ordering_hits: float = Field(0.2, ge=0, le=1, description="the same of hit@20")
    level: float = Field(0.95, gt=0, lt=1, description="confidence of every interval")
    seed: int = 0


@dataclass(frozen=True)
class Champion:
    """The model in production, on the challenger's requests.

    There is no comparison (``duel`` is None) if this model has seen events of the test period: it
    would know the answers, and events that were withheld from the challenger.
    """

    version: str
    seen: float  #: unix seconds of the latest event that it may have seen
    duel: Duel | None


@dataclass(frozen=True)
class Contest:
    """The challenger's ranked lists and its rivals' on the same requests, full catalogue."""

    protocol: str
    requests: Requests
    values: Mapping[str, Values]  #: float64 [r] by metric
    baselines: Mapping[str, Mapping[str, Values]]  #: values by name, fitted on the same events
    champion: Champion | None = None
    served: Served | None = None


@dataclass(frozen=True)
class Evidence:
    """The measurements of a challenger on requests that it was not fitted on.

    A request without a value, e.g. with no target among the candidates, has NaN.
    """

    n_events: int  #: in its training
    n_videos: int  #: in the catalogue
    requests: Requests
    retrieval_recall: Values  #: Recall@100 of retrieval alone, full catalogue: float64 [r]
    retrieval_ndcg: Values  #: `metrics.candidate_ndcg` of candidates in retrieval's order
    ranker_auc: Values  #: `metrics.auc` of the ranker's scores of the candidates
    ranker_ndcg: Values  #: `metrics.candidate_ndcg` of candidates in the final score's order
    contests: Sequence[Contest]


@dataclass(frozen=True)
class Verdict:
    """One gate's decision."""

    gate: str
    value: float  #: NaN if it could not be measured
    threshold: float
    passed: bool
    why: str
    left_out: bool = False  #: a comparison with production that was impossible


def judge(evidence: Evidence, thresholds: Thresholds) -> list[Verdict]:
    """Every gate's verdict, in the order of a report; a model is accepted if all have passed."""
    verdicts = list(_enough(evidence, thresholds))
    if len(evidence.requests):
        verdicts += [*_levels(evidence, thresholds), _chance(evidence, thresholds)]
    for contest in evidence.contests:
        if len(contest.requests):
            verdicts.append(_popularity(contest, thresholds))
            verdicts.extend(_baselines(contest, thresholds))
            verdicts.append(_champion(contest, thresholds))
            verdicts.extend(_ordering(contest, thresholds))
    return verdicts


def accepted(verdicts: list[Verdict]) -> bool:
    """True if there are verdicts and all of them passed."""
    return bool(verdicts) and all(v.passed for v in verdicts)


def _enough(evidence: Evidence, thresholds: Thresholds) -> Iterator[Verdict]:
    viewers = len(np.unique(evidence.requests.user))
    for gate, value, least, what in (
        ("enough events", evidence.n_events, thresholds.least_events, "events to learn from"),
        ("enough viewers", viewers, thresholds.least_viewers, "viewers to test on"),
    ):
        enough = value >= least
        verdict = f"{value:,} {what}" + ("" if enough else f": too few, {least:,} are needed")
        yield Verdict(gate, value, least, enough, verdict)


def _levels(evidence: Evidence, thresholds: Thresholds) -> Iterator[Verdict]:
    """The gates with an absolute threshold."""
    for gate, values, least in (
        ("retrieval Recall@100", evidence.retrieval_recall, thresholds.retrieval_recall),
        ("retrieval NDCG@10, candidates", evidence.retrieval_ndcg, thresholds.retrieval_ndcg),
        ("ranker AUC, candidates", evidence.ranker_auc, thresholds.ranker_auc),
        ("ranker NDCG@10, candidates", evidence.ranker_ndcg, thresholds.ranker_ndcg),
    ):
        if np.isnan(values).all():
            yield Verdict(gate, float("nan"), least, False, "no request says anything about it")
            continue
        seen = _interval(values, evidence.requests, thresholds)
        passed = seen.mean >= least
        sure = seen.low >= least if passed else seen.high < least
        why = f"{_shown(seen)} {'reaches' if passed else 'is below'} {least:g}"
        yield Verdict(gate, seen.mean, least, passed, why + ("" if sure else ", not for certain"))


def _chance(evidence: Evidence, thresholds: Thresholds) -> Verdict:
    """The gate on recall above chance: in a small catalogue 100 random videos reach much."""
    unseen = evidence.n_videos - (evidence.requests.stop - evidence.requests.start)
    chance = np.minimum(1.0, 100 / np.maximum(unseen, 1))
    gap = _interval(evidence.retrieval_recall - chance, evidence.requests, thresholds)
    why = f"retrieval Recall@100 minus that of random lists is {_shown(gap)}"
    gate = "retrieval better than chance"
    return Verdict(gate, gap.mean, 0.0, gap.above_zero, why + _unless(gap.above_zero))


def _popularity(contest: Contest, thresholds: Thresholds) -> Verdict:
    gate = f"{contest.protocol}: learns more than popularity"
    popularity = contest.baselines.get("Popularity")
    if not thresholds.beats_popularity or popularity is None:
        return Verdict(gate, float("nan"), 0.0, not thresholds.beats_popularity, "not compared")
    gap = _gap(contest, popularity, thresholds)
    why = f"{thresholds.metric} minus popularity's is {_shown(gap)}"
    return Verdict(gate, gap.mean, 0.0, gap.above_zero, why + _unless(gap.above_zero))


def _baselines(contest: Contest, thresholds: Thresholds) -> Iterator[Verdict]:
    """A baseline that is significantly better after some pause refuses the model."""
    for name, values in contest.baselines.items():
        for bucket in PAUSE_NAMES:
            chosen = in_pause(contest.requests, bucket)
            gate = f"{contest.protocol}: not below {name} after {bucket}"
            viewers = len(np.unique(contest.requests.user[chosen]))
            if viewers < thresholds.least_viewers_in_bucket:
                why = f"too little evidence: {viewers} viewers after such a pause"
                yield Verdict(gate, float("nan"), 0.0, True, why)
                continue
            gap = _gap(contest, values, thresholds, chosen)
            why = f"{thresholds.metric} minus {name}'s is {_shown(gap)}"
            yield Verdict(gate, gap.mean, 0.0, not gap.below_zero, why + _settled(gap))


def _champion(contest: Contest, thresholds: Thresholds) -> Verdict:
    gate = f"{contest.protocol}: not below the model in production"
    champion = contest.champion
    if champion is None:
        return Verdict(gate, float("nan"), 0.0, True, "there is no model in production")
    duel = champion.duel
    if duel is None:
        moment = datetime.fromtimestamp(champion.seen, UTC).strftime("%Y-%m-%d %H:%M UTC")
        why = f"left out: {champion.version} has seen the test period, up to {moment}"
        return Verdict(gate, float("nan"), 0.0, thresholds.margin is None, why, left_out=True)
    viewers, kept = len(np.unique(duel.requests.user)), len(duel.requests.target)
    gone = duel.targets - kept
    note = f"; {gone:,} of {duel.targets:,} targets are left out for what was shown" if gone else ""
    if viewers < thresholds.least_viewers_in_bucket:
        why = f"too little evidence: {viewers} viewers came after what {champion.version} has seen"
        if gone:
            why += ", and to something that no model showed them" + note
        return Verdict(gate, float("nan"), 0.0, thresholds.margin is None, why, left_out=True)
    gap = _difference(duel.ours, duel.theirs, duel.requests, thresholds)
    why = f"{thresholds.metric} minus {champion.version}'s is {_shown(gap)}"
    if thresholds.margin is None:
        why += _settled(gap) + note
        return Verdict(gate, gap.mean, 0.0, not gap.below_zero, why)
    passed = gap.low >= -thresholds.margin
    ruled = "rules out" if passed else "does not rule out"
    why += f", which {ruled} a loss of more than {thresholds.margin:g}" + note
    return Verdict(gate, gap.mean, -thresholds.margin, passed, why)


def _ordering(contest: Contest, thresholds: Thresholds) -> Iterator[Verdict]:
    """The gates on what viewers are shown: a model is worth what ordering leaves of it."""
    served = contest.served
    if served is None:
        return
    viewers = len(np.unique(served.requests.user))
    for metric, most in zip(
        COSTS, (thresholds.ordering_ndcg, thresholds.ordering_hits), strict=True
    ):
        gate = f"{contest.protocol}: ordering keeps {metric}"
        gap = served.cost(metric, level=thresholds.level, seed=thresholds.seed)
        if gap is None or viewers < thresholds.least_viewers_in_bucket:
            why = f"too little evidence: {viewers} viewers"
            why += ", and nothing that they watched was found" if gap is None else ""
            yield Verdict(gate, float("nan"), -most, True, why)
            continue
        shown = f"{gap.mean:+.1%} [{gap.low:+.1%}, {gap.high:+.1%}] over {gap.viewers:,} viewers"
        if gap.high < -most:
            settled = f"worse than the {-most:.0%} that are allowed"
        else:
            settled = f"{'within' if gap.low >= -most else 'not shown to be beyond'} {-most:.0%}"
        why = f"the served list's, relative to the ranked candidates', is {shown}: {settled}"
        yield Verdict(gate, gap.mean, -most, gap.high >= -most, ". ".join([why, *served.notes]))


def _gap(
    contest: Contest,
    theirs: Mapping[str, Values],
    thresholds: Thresholds,
    chosen: Mask | slice = slice(None),
) -> Interval:
    return _difference(contest.values, theirs, contest.requests, thresholds, chosen)


def _difference(
    ours: Mapping[str, Values],
    theirs: Mapping[str, Values],
    requests: Requests,
    thresholds: Thresholds,
    chosen: Mask | slice = slice(None),
) -> Interval:
    return difference(
        ours[thresholds.metric][chosen],
        theirs[thresholds.metric][chosen],
        requests.user[chosen],
        level=thresholds.level,
        seed=thresholds.seed,
    )


def _interval(values: Values, requests: Requests, thresholds: Thresholds) -> Interval:
    return interval(values, requests.user, level=thresholds.level, seed=thresholds.seed)


def _shown(seen: Interval) -> str:
    return f"{seen.mean:.4f} [{seen.low:.4f}, {seen.high:.4f}] over {seen.viewers:,} viewers"


def _unless(shown: bool) -> str:
    return "" if shown else ": the events do not show that it learnt anything"


def _settled(gap: Interval) -> str:
    if gap.below_zero:
        return ": worse"
    return ": better" if gap.above_zero else ": no difference is shown"
