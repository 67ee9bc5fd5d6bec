"""A viewer in rows: an event touches the small ones, and nobody sees half of what was settled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.streams import EVENTS, START, deliver, one, stored
from vireo.events.models import EventRow
from vireo.events.tracking import Tracking, read
from vireo.events.tracking import Viewers as Events
from vireo.homes.clock import MovableClock
from vireo.homes.items import pack
from vireo.homes.local import LocalHome
from vireo.ports import Arrival, Page, Ports, Table
from vireo.projection import Change, Memory, advance
from vireo.recommender.users import Viewers
from vireo.viewers import rows
from vireo.viewers.profile import Profile
from vireo.viewers.rows import NOW, PAST, SEEN, SETTLE, pack_event, unpack_events, whole
from vireo.viewers.viewer import HISTORY_CAP, WATCHED_CAP, Event, Viewer, apply


@pytest.fixture
def ports(tmp_path: Path) -> Ports:
    return LocalHome(tmp_path, clock=MovableClock(START + 3600)).open("default")


def change(arrival: Arrival) -> Change[EventRow]:
    found = read(arrival)
    assert found is not None
    return found


@given(st.lists(EVENTS, max_size=5))
def test_events_of_a_row_are_what_was_put_there(events: list[Event]) -> None:
    packed = b"".join(map(pack_event, events))
    assert len(packed) == 33 * len(events)
    assert repr(list(unpack_events(packed))) == repr(events)
    if events:
        for wrong in (packed[:-1], b"\xff" + packed[1:]):
            with pytest.raises(ValueError, match="not events"):
                list(unpack_events(wrong))


class Weighed:
    """Records that say how many bytes are read and written."""

    def __init__(self, records: Any) -> None:
        self._records = records
        self.read: list[int] = []
        self.written: list[int] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._records, name)

        def call(*given: Any, **named: Any) -> Any:
            result = method(*given, **named)
            if name == "put":
                self.written.append(len(pack(given[3])))
            elif name == "write":
                self.written += [len(pack(put.item)) for put in given[0]]
            elif result is not None:
                found = [result] if name == "get" else result.records
                self.read += [len(pack(record.item)) for record in found]
            return result

        return call


def full() -> Viewer:
    return Viewer(
        keys=np.arange(HISTORY_CAP, dtype=np.uint64),
        times=START - 1e5 + np.arange(HISTORY_CAP, dtype=np.float64),
        watched=np.arange(WATCHED_CAP, dtype=np.uint64),
        watches=10**6,
    )


def test_a_record_stays_small_and_an_event_s_cost_flat(ports: Ports) -> None:
    """An event reads and writes a few KB of 115; every 64th writes all of them."""
    ports.records.write(whole("anna", full()))
    Tracking(ports).follow([one(j + 1) for j in range(500)])
    Tracking(ports).follow([one(j + 501) for j in range(500)])
    whole_past = []

    def refused(arrival: Arrival, reason: str) -> None:
        pytest.fail(reason)

    for j in range(1000, 1000 + 4 * SETTLE):
        weighed: Any = Weighed(ports.records)
        # Counters of videos are another record, and none of this.
        advance(weighed, Events(weighed), "anna", [change(one(j + 1))], refused)
        assert max(weighed.written[:1]) < 4_600
        if len(weighed.written) == 1:
            assert sum(weighed.read) < 30_000
        else:
            whole_past.append(sum(weighed.written))
    assert len(whole_past) == 4
    assert max(whole_past) < 118_000
    assert stored(ports).watches == 10**6 + 1000 + 4 * SETTLE


def test_a_record_of_before_there_were_rows_of_events(ports: Ports) -> None:
    """What it remembers counts once, and its erasure holds."""
    old = apply(Viewer(), [replace(change(one(1)).what.happened(), time=START)])
    record = bytearray(old.pack())
    record[0] = 1
    memory = Memory()
    memory.remember(change(one(1)))
    item = {"viewer": bytes(record), "erased": START - 5, **memory.item()}
    ports.records.put(Table.VIEWERS, "anna", "", item)
    Viewers(ports).put_profile("anna", Profile(age=31))
    batch = [one(1), one(9, event_id="e1"), one(2), one(3, timestamp=START - 6)]
    assert Tracking(ports).follow(batch) is None
    assert stored(ports).watches == 2
    assert stored(ports).profile.age == 31
    assert Tracking(ports).follow([one(4, timestamp=START - 6)]) is None
    assert stored(ports).watches == 2


def test_half_of_a_transaction_is_not_believed(ports: Ports) -> None:
    """DynamoDB's queries may see one row as it was before a transaction and one as it is after."""
    tracking = Tracking(ports)
    tracking.follow([one(j + 1) for j in range(SETTLE - 1)])
    key = Table.VIEWERS, "anna"
    before = {r.sort: r for r in ports.records.query(*key).records}
    tracking.follow([one(SETTLE)])
    after = {r.sort: r for r in ports.records.query(*key).records}
    assert (set(before), set(after)) == ({NOW}, {PAST, NOW, SEEN})
    expected = stored(ports)

    class Torn:
        """The first query sees one row of before."""

        def __init__(self, old: str) -> None:
            self.old, self.queries = old, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(ports.records, name)

        def query(self, *given: Any, **named: Any) -> Page:
            page = ports.records.query(*given, **named)
            self.queries += 1
            if self.queries > 1 or given[0] is not Table.VIEWERS:
                return page
            rest = [r for r in page.records if r.sort != self.old]
            return Page([*rest, *([before[self.old]] if self.old in before else [])], None)

    for old in (PAST, NOW):
        torn = Torn(old)
        found = rows.read(torn, "anna")
        assert found is not None
        assert found.pack() == expected.pack()
        assert torn.queries == 2
    for old in (SEEN, NOW):
        shaky = replace(ports, records=Torn(old))
        assert Tracking(shaky).follow([one(SETTLE + 9, event_id="e5")]) is None
        assert stored(ports).pack() == expected.pack()


@pytest.mark.parametrize("known", [0, 1, SETTLE - 1])
def test_who_is_erased_while_an_event_is_followed_is_forgotten(ports: Ports, known: int) -> None:
    ports.records.write(whole("anna", Viewer(watches=5)))
    Tracking(ports).follow([one(j + 1) for j in range(known)])
    once = iter([True])

    def meanwhile(when: str, name: str) -> None:
        # After the last thing that is read before anything is written.
        if when == "before" and name in {"put", "write"} and next(once, False):
            Viewers(ports).erase("anna")

    deliver(ports, [one(known + 1)], 1, meanwhile)
    assert stored(ports).pack() == Viewer().pack()
