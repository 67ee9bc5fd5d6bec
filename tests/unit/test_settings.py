"""Settings go to a function's environment and come back."""

from __future__ import annotations

import pytest

from vireo.ports import Table
from vireo.settings import Settings, WrongSettings

TABLES = {f"{t}_table": f"dev-{t}" for t in Table}


def settings(**changes: object) -> Settings:
    return Settings.model_validate({**TABLES, "bucket": "b", "stream": "s", **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"redis_url": "rediss://cache:6379", "training_machine": "arn:aws:states:::x"},
        {"record_seconds": 0.123456789, "attempts": 3},
    ],
)
def test_there_and_back(changes: dict[str, object]) -> None:
    ours = settings(**changes)
    env = ours.as_env()
    assert Settings.from_env({**env, "PATH": "/bin", "AWS_REGION": "eu-west-1"}) == ours
    assert all(type(v) is str and k.startswith("VIREO_") for k, v in env.items())


def test_every_missing_variable_is_named() -> None:
    env = settings().as_env()
    del env["VIREO_BUCKET"], env["VIREO_VIDEOS_TABLE"]
    with pytest.raises(WrongSettings, match="VIREO_VIDEOS_TABLE is not set; VIREO_BUCKET is not"):
        Settings.from_env(env)


def test_wrong_variables_are_named() -> None:
    env = settings().as_env()
    with pytest.raises(WrongSettings, match="VIREO_BUCKTE is no setting"):
        Settings.from_env({**env, "VIREO_BUCKTE": "x"})
    with pytest.raises(WrongSettings, match="VIREO_ATTEMPTS: Input should be a valid integer"):
        Settings.from_env({**env, "VIREO_ATTEMPTS": "many"})


@pytest.mark.parametrize("serves", ['{"_system": "v1"}', '{"_x": "v1"}', "[]", "{", '{"a": 1}'])
def test_bundles_of_what_is_no_tenant(serves: str) -> None:
    env = settings().as_env()
    assert Settings.from_env({**env, "VIREO_SERVES": '{"a": "v1"}'}).bundles() == {"a": "v1"}
    with pytest.raises(WrongSettings, match="VIREO_SERVES"):
        Settings.from_env({**env, "VIREO_SERVES": serves})


def test_names() -> None:
    ours = settings(training_machine="arn")
    assert [ours.table(t) for t in Table] == list(TABLES.values())
    assert ours.machine("training") == "arn"
    assert ours.machine("discovery") is None
