"""No tenant sees what is another's, whatever it is called."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from vireo.ports import Home, Missing, Refused, Table

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


def test_executions_and_their_documents_belong_to_their_tenant(home: Home) -> None:
    a, b = home.open("exec-a"), home.open("exec-b")
    a.executions.start("training", "run", {"how": "pass"})
    with pytest.raises(Missing):
        b.executions.describe("training", "run")
    b.executions.start("training", "run", {"how": "pass", "tenant": "exec-b"})
    with pytest.raises(Refused):
        b.executions.start("training", "other", {"how": "pass", "tenant": "exec-a"})
