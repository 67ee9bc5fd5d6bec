"""Every alarm rings when the fault that it is for happens, and is silent while all is well.

What our own code measures comes from that code: the functions' handlers run, broken as the fault
breaks them, and their lines are read as CloudWatch reads them. What AWS measures has the documented
names and dimensions. See `tests.infra.cloudwatch` for what judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from tests.infra import emissions as e
from tests.infra.conftest import Scenes
from tests.infra.scenes import HOUR, MINUTE, Happening, Prod, Scene

DAY = 24 * HOUR
#: SQS begins to measure a queue so long after something got into it, if nothing was for hours.
SQS_LATE = 15 * MINUTE


Fault = Callable[[Scene], None]


def emits(what: Happening, every: float = 1.0) -> Fault:
    """A function writes this, again and again."""
    return lambda s: s.emit(what, every=every)


def once(what: Happening) -> Fault:
    """A function writes this, a single time."""
    return lambda s: s.emit(what, every=2 * MINUTE, end=2 * MINUTE)


def stops(what: Happening) -> Fault:
    """A function writes this, and then nothing any more."""
    return lambda s: s.emit(what, end=HOUR)


def throttled(kind: str, table: str) -> Fault:
    """One table of all refuses something twice a minute, and the others have never done so."""
    return lambda s: s.aws(
        "DynamoDB", f"{kind}ThrottleEvents", 1, s.prod.table(table), every=MINUTE / 4
    )


def failing_answers(s: Scene) -> None:
    """Two answers of a hundred are 5xx, which API Gateway counts as 1, and all others as 0."""
    for every, failed in ((MINUTE / 49, 0), (MINUTE, 1)):
        s.aws("ApiGateway", "5XXError", failed, s.prod.api, every=every)


def slow_answers(s: Scene) -> None:
    """Two answers of a hundred take half a second."""
    for every, milliseconds in ((MINUTE / 49, 40), (MINUTE, 500)):
        s.aws("ApiGateway", "Latency", milliseconds, s.prod.api, every=every)


def slow_invocations(function: str) -> Fault:
    """A new version, which gets a tenth of the requests, takes two seconds for each fifth."""

    def fault(s: Scene) -> None:
        for version, every, milliseconds in (("7", 1.0, 20), ("8", 11.0, 30), ("8", 45.0, 2000)):
            of = s.prod.function(function, version=version)
            s.aws("Lambda", "Duration", milliseconds, of, every=every)

    return fault


def refused_invocations(s: Scene) -> None:
    """Lambda refuses ten invocations a minute."""
    s.aws("Lambda", "Throttles", 1, s.prod.function("RecommendFunction"), every=MINUTE / 10)


def refused_events(s: Scene) -> None:
    """Lambda refuses ten invocations of the intake a minute."""
    s.aws("Lambda", "Throttles", 1, s.prod.function("EventsFunction"), every=MINUTE / 10)


def canary(what: Happening, instead_of: Happening) -> Fault:
    """A new version, which gets a tenth of the requests, does this."""

    def fault(s: Scene) -> None:
        s.emit(instead_of, every=1, version="7")
        s.emit(what, every=9, version="8")

    return fault


def crashing(function: str) -> Fault:
    """A new version, which gets a tenth of the requests, crashes."""

    def fault(s: Scene) -> None:
        for version, every, failed in (("7", 1.0, 0), ("8", 9.0, 1)):
            of = s.prod.function(function, version=version)
            s.aws("Lambda", "Errors", failed, of, every=every)
            s.aws("Lambda", "Invocations", 1, of, every=every)

    return fault


def given_up(s: Scene) -> None:
    """One batch, once."""
    mapping = s.prod.one("AWS::Lambda::EventSourceMapping", "EventSourceMappingUUID")
    s.aws("Lambda", "OnFailureDestinationDeliveredEventCount", 500, mapping, every=HOUR)


def late(s: Scene) -> None:
    """A shard stands still, so that what its consumer gets becomes older and older."""
    tracking = s.prod.function("TrackingFunction", alias=None)
    s.aws("Lambda", "IteratorAge", lambda at: 1e3 * at, tracking)


def firehose(s: Scene) -> Mapping[str, str]:
    """The delivery stream."""
    return s.prod.one("AWS::KinesisFirehose::DeliveryStream", "DeliveryStreamName")


def old_files(s: Scene) -> None:
    """Nothing can be written, so that the oldest event becomes older and older."""
    s.aws("Firehose", "DeliveryToS3.DataFreshness", lambda at: at, firehose(s))


def machine(name: str) -> Fault:
    """Step Functions counts one execution."""
    return lambda s: s.aws(
        "States",
        name,
        1,
        s.prod.one("AWS::StepFunctions::StateMachine", "StateMachineArn"),
        every=HOUR,
    )


def queue(s: Scene) -> Mapping[str, str]:
    """Where dead letters of schedules and rules are."""
    return s.prod.one("AWS::SQS::Queue", "QueueName", ".QueueName")


#: By alarm: faults, each of which it must be rung by, and within how many minutes.
FAULTS: Mapping[str, tuple[float, Sequence[Fault]]] = {
    "ApiErrors": (15, [failing_answers]),
    "ApiSlow": (20, [slow_answers]),
    "NoRequests": (60 + 45, [stops(e.recommend)]),
    "RequestSlow": (20, [emits(e.slow_stage)]),
    "StageFails": (15, [emits(e.broken_stage)]),
    "Degraded": (20, [emits(e.no_viewers)]),
    "OverlayFails": (15, [emits(e.no_overlay, every=10)]),
    "BundleRefused": (10, [once(e.damaged_bundle)]),
    "BundleOld": (5 * 60, [emits(e.old_bundle, every=MINUTE)]),
    "SettingRefused": (20, [emits(e.wrong_setting, every=10)]),
    "ExposuresLost": (20, [emits(e.lost_exposure)]),
    "RecommendThrottled": (10, [refused_invocations]),
    "EventsThrottled": (10, [refused_events]),
    "CacheFails": (20, [emits(e.no_cache)]),
    "ReadsThrottled": (15, [throttled("Read", name) for name in ("viewers", "settings")]),
    "WritesThrottled": (15, [throttled("Write", name) for name in ("viewers", "overlay")]),
    "StreamThrottled": (
        15,
        [lambda s: s.aws("Kinesis", "WriteProvisionedThroughputExceeded", 5, s.prod.stream)],
    ),
    "NoEvents": (60 + 45, [stops(e.events), emits(e.no_stream)]),
    "EventsUnavailable": (15, [emits(e.no_stream)]),
    "DeadLetters": (10, [once(e.poison)]),
    "NothingFollowed": (60 + 45, [stops(e.tracking), emits(e.no_records), emits(e.poison)]),
    # A shard's consumer gets its batch again once a minute, at the least.
    "TrackingFails": (20, [emits(e.no_records, every=MINUTE)]),
    "TrackingLate": (20, [late]),
    "EventsGivenUp": (40, [given_up]),
    "NoFiles": (
        60 + 4 * 60,
        [
            lambda s: s.aws(
                "Firehose", "DeliveryToS3.Records", 900, firehose(s), every=900, end=HOUR
            )
        ],
    ),
    "DeliveryLate": (60, [old_files]),
    "DeliveryFails": (
        10,
        [
            lambda s: s.aws("Firehose", "FailedConversion.Records", 5, firehose(s)),
            lambda s: s.aws("Firehose", "PartitionCountExceeded", 1, firehose(s)),
            lambda s: s.aws(
                "Lambda", "Errors", 1, s.prod.function("DeliveryFunction", alias="$LATEST")
            ),
        ],
    ),
    "TrainingFails": (35, [machine("ExecutionsFailed")]),
    "TrainingTooLong": (35, [machine("ExecutionsTimedOut")]),
    "TrainingMissing": (
        6 * 60,
        [emits(e.old_training, every=HOUR), emits(e.no_training, every=HOUR), lambda s: None],
    ),
    "Undelivered": (
        25,
        [lambda s: s.aws("SQS", "ApproximateNumberOfMessagesVisible", 1, queue(s), begin=SQS_LATE)],
    ),
    "UpkeepFails": (
        35,
        [
            lambda s: s.aws(
                "Lambda", "Errors", 1, s.prod.function("UpkeepFunction", alias=None), every=HOUR
            )
        ],
    ),
    # What takes a version back has to do so within the five minutes that it is tried.
    "RecommendErrors": (4, [crashing("RecommendFunction")]),
    "RecommendFails": (
        4,
        [canary(e.broken_answers, e.recommend), canary(e.no_model, e.recommend)],
    ),
    "RecommendDegrades": (
        4,
        [canary(e.broken_stage, e.recommend), canary(e.no_viewers, e.recommend)],
    ),
    "RecommendSlow": (5, [slow_invocations("RecommendFunction")]),
    "EventsErrors": (4, [crashing("EventsFunction")]),
    "EventsFails": (4, [canary(e.broken_intake, e.events), canary(e.no_stream, e.events)]),
    "EventsSlow": (5, [slow_invocations("EventsFunction")]),
}


def test_every_alarm_has_a_fault_that_rings_it(prod: Prod) -> None:
    assert set(FAULTS) == set(prod.alarms)


@pytest.mark.parametrize("name", FAULTS)
def test_it_rings(scene: Scenes, name: str) -> None:
    within, faults = FAULTS[name]
    for fault in faults:
        happening = scene(end=(within + 5) * MINUTE)
        fault(happening)
        for rung in happening.rings(name):
            assert rung is not None, "it never rings"
            assert rung <= within * MINUTE


def healthy(s: Scene) -> None:
    """Everything is used, and now and then something small goes wrong."""
    recommend, events = s.prod.function("RecommendFunction"), s.prod.function("EventsFunction")
    s.emit(e.recommend, every=10)
    s.emit(e.events, every=10)
    s.emit(e.tracking, every=30)
    s.emit(e.upkeep, every=HOUR)
    for once in (e.broken_stage, e.no_viewers, e.no_overlay, e.no_records, e.no_cache, e.no_stream):
        s.emit(once, every=HOUR)
    for function in (recommend, events):
        s.aws("Lambda", "Invocations", 1, function, every=10)
        s.aws("Lambda", "Errors", 0, function, every=10)
        s.aws("Lambda", "Errors", 1, function, every=HOUR)
        s.aws("Lambda", "Duration", 25, function, every=10)
    for name, value in (("Latency", 40), ("5XXError", 0), ("4XXError", 1), ("Count", 1)):
        s.aws("ApiGateway", name, value, s.prod.api, every=1)
    s.aws("ApiGateway", "5XXError", 1, s.prod.api, every=HOUR)
    s.aws("Lambda", "IteratorAge", 900, s.prod.function("TrackingFunction", alias=None))
    s.aws("Lambda", "Errors", 0, s.prod.function("DeliveryFunction", alias="$LATEST"))
    s.aws("Firehose", "DeliveryToS3.Records", 900, firehose(s), every=15 * MINUTE)
    s.aws("Firehose", "DeliveryToS3.DataFreshness", 900, firehose(s), every=5 * MINUTE)
    s.aws("DynamoDB", "ReadThrottleEvents", 2, s.prod.table("viewers"), every=HOUR)
    s.aws("Kinesis", "WriteProvisionedThroughputExceeded", 0, s.prod.stream)
    s.aws("SQS", "ApproximateNumberOfMessagesVisible", 0, queue(s))


@pytest.fixture(scope="module")
def well(scene: Scenes) -> Scene:
    """Twelve hours in which all is well; alarms are looked at when they have all they look at."""
    found = scene(start=0.0, end=12 * HOUR)
    healthy(found)
    found.start = 8 * HOUR
    return found


@pytest.mark.parametrize("name", FAULTS)
def test_it_is_silent_while_all_is_well(well: Scene, name: str) -> None:
    assert well.rings(name) == [None, None]


def test_a_bundle_is_called_old_after_some_runs_without_another(prod: Prod) -> None:
    """Two weekly runs may be refused without waking anybody; a month is too long."""
    threshold = float(prod.alarms["BundleOld"]["Threshold"])
    assert 14 * DAY < threshold <= 28 * DAY
