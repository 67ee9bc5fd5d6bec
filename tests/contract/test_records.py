"""What records do in every home."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vireo.homes.clock import MovableClock
from vireo.ports import Conflict, Delete, Home, Ports, Put, Refused, Table

pytestmark = pytest.mark.second_dynamodb
transactional = pytest.mark.dynalite_lacks("TransactWriteItems")

T = Table.VIDEOS
#: A fixture that is not reset between examples does no harm: each writes the record anew.
EXAMPLES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
names = st.text(max_size=8).filter(lambda s: not s.startswith("\0"))
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=3), max_leaves=8
)
items = st.dictionaries(names, values, max_size=4)


def types(value: Any) -> Any:
    """The value with the types of all that is in it: 1, 1.0 and True are equal, their types not."""
    if isinstance(value, dict):
        return {k: types(v) for k, v in value.items()}
    if isinstance(value, list):
        return [types(v) for v in value]
    return type(value), repr(value)


@EXAMPLES
@given(item=items)
def test_an_item_comes_back_as_it_was(ports: Ports, item: dict[str, Any]) -> None:
    ports.records.put(T, "k", "s", item)
    record = ports.records.get(T, "k", "s")
    assert record is not None
    assert types(record.item) == types(item)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**64, -(2**63) - 1, (1,), {1}, {"\0": 1}, {1: 1}, object]
)
def test_what_no_record_can_hold_is_refused(ports: Ports, value: object) -> None:
    with pytest.raises(Refused):
        ports.records.put(T, "k", "", {"deep": [{"down": value}]})
    assert ports.records.get(T, "k") is None


def test_nothing_is_none(ports: Ports) -> None:
    assert ports.records.get(T, "k", "s") is None
    assert ports.records.query(T, "k").records == []


def test_sizes(ports: Ports) -> None:
    ports.records.put(T, "k" * 1024, "s" * 1000, {"x": b"x" * 397 * 1000})
    with pytest.raises(Refused):
        ports.records.put(T, "k", "", {"x": b"x" * 400 * 1024})
    for key, sort in [("", "s"), ("k" * 1025, ""), ("k", "s" * 1001), ("\ud800", "")]:
        with pytest.raises(Refused):
            ports.records.put(T, key, sort, {})
        with pytest.raises(Refused):
            ports.records.get(T, key, sort)


def test_versions_count_up_and_are_compared(ports: Ports) -> None:
    records = ports.records
    assert records.put(T, "k", "", {"n": 1}, expect=0) == 1
    with pytest.raises(Conflict):
        records.put(T, "k", "", {"n": 2}, expect=0)
    assert records.put(T, "k", "", {"n": 2}) == 2
    assert records.put(T, "k", "", {"n": 3}, expect=2) == 3
    with pytest.raises(Conflict):
        records.put(T, "k", "", {"n": 4}, expect=2)
    with pytest.raises(Conflict):
        records.delete(T, "k", expect=2)
    record = records.get(T, "k")
    assert record is not None
    assert (record.item, record.version) == ({"n": 3}, 3)
    records.delete(T, "k", expect=3)
    records.delete(T, "k")
    with pytest.raises(Conflict):
        records.delete(T, "k", expect=3)
    with pytest.raises(Conflict):
        records.put(T, "k", "", {}, expect=3)
    assert records.get(T, "k") is None


def test_one_of_many_writers_wins(ports: Ports) -> None:
    def attempt(n: int) -> bool:
        try:
            ports.records.put(T, "k", "", {"n": n}, expect=0)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1


def test_adding_is_atomic(ports: Ports) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: ports.records.add(T, "k", "s", {"n": n, "x": 0.5}), range(40)))
    record = ports.records.get(T, "k", "s")
    assert record is not None
    assert record.item == {"n": sum(range(40)), "x": 20.0}
    assert types(record.item["n"])[0] is int


def test_adding_to_what_was_put(ports: Ports) -> None:
    records = ports.records
    records.put(T, "k", "", {"n": 1, "x": 1.5, "name": "a"})
    assert records.add(T, "k", "", {"n": 2, "x": 1}) == {"n": 3, "x": 2.5, "name": "a"}
    assert records.add(T, "k", "", {"n": 0.25, "new": -1}) == {
        "n": 3.25,
        "x": 2.5,
        "name": "a",
        "new": -1,
    }
    record = records.get(T, "k")
    assert record is not None
    assert record.version == 3
    assert records.query(T, "k").records == [record]
    records.put(T, "k", "", {"n": 1})
    assert records.add(T, "k", "", {"n": 1}) == {"n": 2}


def test_only_numbers_can_be_added_to_numbers(ports: Ports) -> None:
    ports.records.put(T, "k", "", {"name": "a", "flag": True})
    wrong: list[dict[str, Any]] = [
        {"name": 1},
        {"flag": 1},
        {},
        {"n": float("nan")},
        {"n": True},
        {"n": "1"},
    ]
    for amounts in wrong:
        with pytest.raises(Refused):
            ports.records.add(T, "k", "", amounts)
    record = ports.records.get(T, "k")
    assert record is not None
    assert record.item == {"name": "a", "flag": True}


def test_expired_records_are_gone_at_once(ports: Ports, clock: MovableClock) -> None:
    records, now = ports.records, clock.now()
    records.put(T, "k", "a", {"n": 1}, expires=now + 9.5)
    records.put(T, "k", "b", {"n": 1})
    clock.advance(9)
    assert records.get(T, "k", "a") is not None
    clock.advance(1)  # moments of expiry are rounded up to whole seconds
    assert records.get(T, "k", "a") is None
    assert [r.sort for r in records.query(T, "k").records] == ["b"]
    with pytest.raises(Conflict):
        records.put(T, "k", "a", {}, expect=1)
    with pytest.raises(Conflict):
        records.delete(T, "k", "a", expect=1)
    assert records.add(T, "k", "a", {"n": 5}) == {"n": 5}
    clock.advance(1e6)
    assert records.get(T, "k", "a") is not None


def test_an_expired_record_can_be_made_again(ports: Ports, clock: MovableClock) -> None:
    ports.records.put(T, "k", "", {"n": 1}, expires=clock.now() + 1)
    clock.advance(1)
    assert ports.records.put(T, "k", "", {"n": 2}, expect=0) == 1
    clock.advance(100)
    assert ports.records.get(T, "k") is not None


sorts = st.text(st.characters(codec="utf-8"), max_size=3) | st.sampled_from(
    ["a", "ab", "abc", "b", "a\U0010ffff", "\U0010ffff", "-", "\0", "é"]
)


@settings(EXAMPLES, max_examples=30)
@example(
    stored={"", "a"}, prefix="", after=None, before=None, limit=1, newest_first=False
)  # "" is a sort key, too, and a page may end with it
@given(
    stored=st.sets(sorts, max_size=8),
    prefix=sorts,
    after=st.none() | sorts,
    before=st.none() | sorts,
    limit=st.integers(1, 4),
    newest_first=st.booleans(),
)
def test_a_query_walks_in_order(
    *,
    home: Home,
    stored: set[str],
    prefix: str,
    after: str | None,
    before: str | None,
    limit: int,
    newest_first: bool,
) -> None:
    records = home.open("tenant-query").records
    for record in records.query(T, "k").records:
        records.delete(T, "k", record.sort)
    for sort in stored:
        records.put(T, "k", sort, {"sort": sort})
    wanted = sorted(
        (
            s
            for s in stored
            if s.startswith(prefix)
            and (after is None or s > after)
            and (before is None or s < before)
        ),
        key=str.encode,
        reverse=newest_first,
    )
    found: list[str] = []
    while True:
        page = records.query(
            T,
            "k",
            prefix=prefix,
            after=after,
            before=before,
            limit=limit,
            newest_first=newest_first,
        )
        assert len(page.records) <= limit
        assert all(r.item == {"sort": r.sort} for r in page.records)
        found += [r.sort for r in page.records]
        if page.after is None:
            break
        if newest_first:
            before = page.after
        else:
            after = page.after
    assert found == wanted


def test_a_page_is_full_although_records_before_it_expired(
    ports: Ports, clock: MovableClock
) -> None:
    for j in range(20):
        ports.records.put(T, "k", f"{j:02}", {}, expires=clock.now() + 1 if j < 15 else None)
    clock.advance(5)
    page = ports.records.query(T, "k", limit=3)
    assert [r.sort for r in page.records] == ["15", "16", "17"]
    assert page.after == "17"
    assert ports.records.query(T, "k", limit=5).after is None


def test_a_query_of_many_megabytes(ports: Ports) -> None:
    for j in range(8):
        ports.records.put(T, "k", str(j), {"x": b"x" * 300_000})
    assert len(ports.records.query(T, "k").records) == 8


@transactional
def test_writes_are_all_or_none(ports: Ports) -> None:
    records = ports.records
    records.put(T, "a", "", {"n": 1})
    with pytest.raises(Conflict):
        records.write(
            [Put(T, "b", "", {"n": 1}), Delete(T, "a", ""), Put(Table.OVERLAY, "a", "", {}, 7)]
        )
    assert records.get(T, "b") is None
    assert records.get(T, "a") is not None
    records.write(
        [
            Put(T, "b", "", {"n": 1}, expect=0),
            Delete(T, "a", "", expect=1),
            Put(Table.OVERLAY, "a", "", {"n": 2}),
        ]
    )
    assert records.get(T, "a") is None
    overlay = records.get(Table.OVERLAY, "a")
    assert overlay is not None
    assert (overlay.item, overlay.version) == ({"n": 2}, 1)
    records.write([])


@transactional
def test_limits_of_a_transaction(ports: Ports) -> None:
    hundred = [Put(T, str(j), "", {}) for j in range(100)]
    ports.records.write(hundred)
    too_many: list[list[Put | Delete]] = [
        [*hundred, Put(T, "100", "", {})],
        [Put(T, "a", "", {}), Delete(T, "a", "")],
        [Put(T, "", "", {})],
        [Put(T, str(j), "", {"x": b"x" * 390_000}) for j in range(11)],
    ]
    for writes in too_many:
        with pytest.raises(Refused):
            ports.records.write(writes)


def test_tables_are_apart(ports: Ports) -> None:
    for table in Table:
        ports.records.put(table, "k", "", {"table": table.value})
    for table in Table:
        record = ports.records.get(table, "k")
        assert record is not None
        assert record.item == {"table": table.value}
