"""No tenant sees what is another's, whatever it is called."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from upkeep.app import keeper
from vireo.jobs.task import task
from vireo.ports import Home, Missing, Ports, Refused, Table
from vireo.training.steps import TRAINING

tenants = st.from_regex(r"[a-z0-9-]{1,6}", fullmatch=True) | st.just("_system")
wild = st.text("ab#/:_.-\0", min_size=1, max_size=6)


@pytest.mark.second_dynamodb
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(mine=tenants, theirs=tenants, name=wild, asked=wild)
def test_what_one_writes_no_other_sees(
    home: Home, mine: str, theirs: str, name: str, asked: str
) -> None:
    assume(mine != theirs)
    a, b = home.open(mine), home.open(theirs)
    a.records.put(Table.VIDEOS, name, name, {"secret": 1})
    a.cache.put(name, b"secret", seconds=60)
    try:
        a.blobs.write(name, b"secret")
    except Refused:
        a.blobs.write("secret", b"secret")
    guesses = {name, asked, f"{mine}#{name}", f"../{mine}/{name}", f"{mine}/{name}", "secret"}
    for guess in guesses:
        for sort in ("", name, asked):
            assert b.records.get(Table.VIDEOS, guess, sort) is None
        assert b.records.query(Table.VIDEOS, guess).records == []
        assert b.cache.get(guess) is None
        with pytest.raises((Missing, Refused)):
            b.blobs.read(guess)
        try:
            assert list(b.blobs.names(guess)) == []
        except Refused:
            continue
    assert list(b.blobs.names()) == []
    a.records.delete(Table.VIDEOS, name, name)  # the next example may have them the other way round
    a.cache.delete(name)
    for blob in list(a.blobs.names()):
        a.blobs.delete(blob)


@pytest.mark.parametrize(
    "tenant", ["", "A", "a_b", "a#b", "a/b", "..", "a" * 33, "a\n", "_other", "ä", "a:b"]
)
def test_what_is_no_tenant_is_refused(home: Home, tenant: str) -> None:
    with pytest.raises(Refused):
        home.open(tenant)


class Seen:
    """A home, and the tenants that were opened in it."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.opened: list[str] = []

    def open(self, tenant: str) -> Ports:
        self.opened.append(tenant)
        return self._home.open(tenant)


NO_TENANTS = ["_system", "_other", "", "A", "a/b", "a" * 33, "a\n", 7, None]


@pytest.mark.parametrize("tenant", NO_TENANTS)
def test_no_step_opens_what_is_no_tenant(home: Home, tenant: object) -> None:
    seen = Seen(home)
    for step in TRAINING.steps:
        with pytest.raises(ValueError, match="tenant"):
            task(seen, TRAINING)({"step": step, "run": {"run_id": "r", "tenant": tenant}}, None)
    assert seen.opened == []


@pytest.mark.parametrize("tenant", NO_TENANTS)
@pytest.mark.parametrize("what", ["ages", "tidy"])
def test_no_schedule_opens_what_is_no_tenant(home: Home, what: str, tenant: object) -> None:
    seen = Seen(home)
    with pytest.raises(ValueError, match=r"not a tenant|no such task"):
        keeper(seen)({"task": what, "tenant": tenant}, None)
    assert seen.opened == []


def test_executions_and_their_documents_belong_to_their_tenant(home: Home) -> None:
    a, b = home.open("exec-a"), home.open("exec-b")
    a.executions.start("training", "run", {"how": "pass"})
    with pytest.raises(Missing):
        b.executions.describe("training", "run")
    b.executions.start("training", "run", {"how": "pass", "tenant": "exec-b"})
    with pytest.raises(Refused):
        b.executions.start("training", "other", {"how": "pass", "tenant": "exec-a"})
