"""From events to arrays: what counts, what is left out and why, and nothing depends on order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vireo.catalogue.models import Video
from vireo.training.data import event_table, preprocess, relational
from vireo.training.data import prepared as storage
from vireo.training.data.activity import counters
from vireo.training.data.dataset import Dataset
from vireo.training.data.prepared import Prepared
from vireo.training.data.preprocess import Settings
from vireo.viewers.profile import Profile

NOW = 2e9
VIDEOS = [Video(video_id=f"v{j}", title=f"Film {j}", category="AB"[j % 2]) for j in range(6)]
USERS = {"u1": Profile(age=30, country="DE", language="de"), "u9": Profile()}


def table(*rows: dict[str, Any]) -> pa.Table:
    """Rows of the schema, unchecked: what a feed may really have written."""
    loose = pa.schema([pa.field(f.name, f.type) for f in event_table.SCHEMA])
    filled = [{"event_id": f"e{j}", "type": "watch", **row} for j, row in enumerate(rows)]
    return pa.Table.from_pylist(filled, loose)


def event(user: str, video: str, time: float, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "video_id": video, "timestamp": time, **more}


def prepared(rows: pa.Table, **more: Any) -> Prepared:
    data = Dataset(rows, VIDEOS, USERS)
    return preprocess.from_dataset(data, now=NOW, settings=Settings(**more))


def pairs(p: Prepared) -> list[tuple[str, str, float]]:
    log = p.log
    return [
        (log.people.ids[u].decode(), log.videos.ids[v].decode(), float(t))
        for u, v, t in zip(log.user, log.video, log.time, strict=True)
    ]


def test_what_counts_as_positive() -> None:
    kinds: list[tuple[dict[str, Any], bool]] = [
        ({}, True),
        ({"watch_fraction": 0.3}, True),
        ({"watch_fraction": 0.29}, False),
        ({"watch_fraction": 0.1, "watch_seconds": 30.0}, True),
        ({"watch_seconds": 29.0}, False),
        ({"type": "like"}, True),
        ({"type": "share"}, True),
        ({"type": "comment"}, True),
        ({"type": "click"}, False),
        ({"type": "impression"}, False),
        ({"type": "skip", "watch_fraction": 0.9}, False),
        ({"type": "dislike"}, False),
    ]
    rows = [event(f"u{j}", "v0", j, **kind) for j, (kind, _) in enumerate(kinds)]
    p = prepared(table(*rows))
    assert [u for u, _, _ in pairs(p)] == [f"u{j}" for j, (_, good) in enumerate(kinds) if good]
    assert p.log.weight.tolist() == [1, 1, 1, 2, 2, 2]
    assert len(p.activity) == len(kinds)
    assert p.report.types["watch"] == 5


def test_clicks_count_in_a_log_without_watches() -> None:
    rows = [event("u1", "v1", 1, type="click"), event("u1", "v2", 2, type="impression")]
    assert pairs(prepared(table(*rows))) == [("u1", "v1", 1.0)]
    assert pairs(prepared(table(*rows, event("u1", "v3", 3)))) == [("u1", "v3", 3.0)]


def test_what_is_left_out_is_counted_by_reason() -> None:
    p = prepared(
        table(
            event("u1", "v1", 10),
            event("u1", "v1", 10, event_id="e0"),
            event("u1", "v1", NOW + 200),
            event("u1", "v1", NOW + 400),
            event("u1", "gone", 11),
            event("", "v1", 12),
            {"user_id": "u1", "video_id": "v1"},
            {"user_id": None, "video_id": "v1", "timestamp": 3.0},
            event("u1", "v1", 13, type="stare"),
            event("u1", "v1", 13, type=None),
            event("u1", "v1", float("nan")),
            event("u1", "v2", 14, watch_seconds=float("nan")),
            event("u1", "v2", 14, watch_fraction=-1.0),
            event("u1", "v2", 14, event_id=None),
        )
    )
    assert p.report.dropped == {
        "in the future": 1,
        "malformed": 9,
        "repeated": 1,
        "video not in the catalogue": 1,
    }
    assert (p.report.read, p.report.kept, p.report.positives) == (14, 2, 1)
    assert p.report.first == p.report.last == 10


def test_a_malformed_row_does_not_take_the_id_of_a_good_one() -> None:
    rows = table(event("u1", "v1", -5, event_id="e"), event("u1", "v1", 5, event_id="e"))
    assert pairs(prepared(rows)) == [("u1", "v1", 5.0)]


def test_ties_follow_the_sequence_then_the_event_id() -> None:
    rows = table(
        event("u1", "v1", 5, sequence=2),
        event("u1", "v2", 5, sequence=1),
        event("u1", "v3", 5, event_id="b"),
        event("u1", "v4", 5, event_id="a"),
        event("u1", "v5", 4, sequence=9),
    )
    assert [v for _, v, _ in pairs(prepared(rows))] == ["v5", "v4", "v3", "v2", "v1"]


EVENTS = st.lists(
    st.builds(
        lambda user, video, time, kind, fraction, n: event(
            user, video, float(time), type=kind, watch_fraction=fraction, event_id=f"e{n}"
        ),
        st.sampled_from(["u1", "u2", "u3"]),
        st.sampled_from(["v0", "v1", "v2", "nowhere"]),
        st.integers(0, 6) | st.just(3e9),
        st.sampled_from(event_table.TYPES),
        st.none() | st.sampled_from([0.1, 0.3, 1.0]),
        st.integers(0, 30),
    ),
    max_size=25,
)


def oracle(rows: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    """One event after the other, as docs/dataset.md says."""
    ordered = sorted(rows, key=lambda e: (e["timestamp"], e["sequence"]))
    ids: set[str] = set()
    kept = []
    for e in ordered:
        if e["timestamp"] <= NOW and e["event_id"] not in ids:
            ids.add(e["event_id"])
            if e["video_id"] != "nowhere":
                kept.append(e)
    watches = any(e["type"] == "watch" for e in kept)
    seen: set[tuple[str, str]] = set()
    result = []
    for e in kept:
        match e["type"]:
            case "watch":
                positive = e["watch_fraction"] is None or e["watch_fraction"] >= 0.3
            case "like" | "comment" | "share":
                positive = True
            case "click":
                positive = not watches
            case _:
                positive = False
        pair = (e["user_id"], e["video_id"])
        if positive and pair not in seen:
            seen.add(pair)
            result.append((*pair, e["timestamp"]))
    return result


@settings(max_examples=12, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False))
def test_equals_the_oracle_whatever_the_order_of_rows(rows: list[dict[str, Any]], rnd: Any) -> None:
    numbered = [{**row, "sequence": j} for j, row in enumerate(rows)]
    first = prepared(table(*numbered))
    assert pairs(first) == oracle(numbered)
    shuffled = list(numbered)
    rnd.shuffle(shuffled)
    videos = list(VIDEOS)
    rnd.shuffle(videos)
    users = dict(reversed(USERS.items()))
    other = preprocess.from_dataset(Dataset(table(*shuffled), videos, users), now=NOW)
    assert_same(first, other)


def assert_same(a: Prepared, b: Prepared) -> None:
    for x, y in ((a.log, b.log), (a.activity, b.activity), (a.log.people, b.log.people)):
        for name, value in vars(x).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(y, name), err_msg=name)
    for name, value in a.log.videos.arrays().items():
        np.testing.assert_array_equal(value, getattr(b.log.videos, name), err_msg=name)
    assert a.log.vocabulary.as_dict() == b.log.vocabulary.as_dict()
    assert str(a.report) == str(b.report)


def test_people_and_vocabulary() -> None:
    rows = [event("u5", f"v{j}", j, device="tv" if j else "phone", country="XK") for j in range(4)]
    p = prepared(table(*rows))
    words = p.log.vocabulary
    assert p.log.people.ids.tolist() == [b"u1", b"u5", b"u9"]
    assert p.log.people.age.tolist() == [30, -1, -1]
    assert words.countries[p.log.people.country[0] - 1] == "DE"
    assert words.categories == ("A", "B")
    # One phone is not enough to learn about phones.
    assert words.devices == ("tv",)
    assert p.log.device.tolist() == [0, 1, 1, 1]
    # A country in which something may be blocked tomorrow has a code today.
    assert {"FR", "XK"} <= set(words.countries)
    assert list(words.countries) == sorted(words.countries)
    assert p.log.text.shape == (6, 512)
    assert p.log.n_videos == 6


def test_a_single_language_is_unknown() -> None:
    assert prepared(table(event("u1", "v1", 1))).log.people.language.tolist() == [0, 0]
    kept = prepared(table(event("u1", "v1", 1)), minimum_count=1)
    assert kept.log.vocabulary.languages == ("de",)


def test_an_empty_log_is_one() -> None:
    p = prepared(table())
    assert len(p.log) == len(p.activity) == p.report.read == 0
    assert preprocess.split(p.log) == (0, 0)
    assert np.isnan(counters(p.activity, 1.0).click_rate).all()


def test_split_is_that_of_the_benchmark() -> None:
    p = prepared(table(*(event(f"u{j}", "v0", j) for j in range(37))))
    assert preprocess.split(p.log) == (int(37 * 0.8), int(37 * (0.8 + 0.1)))
    assert preprocess.split(p.log, 0.7, 0.15) == (25, 31)


def many(n: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return table(
        *(
            event(
                f"u{rng.integers(9)}",
                f"v{rng.integers(6)}",
                float(rng.integers(0, 1000)),
                type=event_table.TYPES[rng.integers(len(event_table.TYPES))],
            )
            for _ in range(n)
        )
    )


def test_counters_count_what_was_before() -> None:
    p = prepared(many(400))
    a = p.activity
    for until in (-1.0, 0.0, 500.0, float(a.time[200]), 1e9):
        got = counters(a, until)
        for name, kind in (
            ("watches", "watch"),
            ("likes", "like"),
            ("comments", "comment"),
            ("shares", "share"),
            ("impressions", "impression"),
            ("clicks", "click"),
            ("skips", "skip"),
            ("dislikes", "dislike"),
        ):
            expected = np.zeros(6, int)
            for video, code, time in zip(a.video, a.type, a.time, strict=True):
                expected[video] += code == event_table.TYPES.index(kind) and time < until
            np.testing.assert_array_equal(getattr(got, name), expected)


def test_counters_do_not_see_the_future() -> None:
    before = prepared(many(400)).activity
    until = 500.0
    now = counters(before, until)
    late = before.time >= until
    assert late.sum() > 100
    rng = np.random.default_rng(5)
    changed = replace(
        before,
        video=np.where(late, rng.integers(0, 6, len(late)), before.video).astype(np.int32),
        type=np.where(late, rng.integers(0, 8, len(late)), before.type).astype(np.int8),
    )
    assert any(
        (getattr(counters(changed, 1e9), n) != getattr(counters(before, 1e9), n)).any()
        for n in ("watches", "clicks")
    )
    for name, value in vars(now).items():
        np.testing.assert_array_equal(value, getattr(counters(changed, until), name))


def test_click_rates_are_shrunk_to_the_overall_one() -> None:
    shown = [event("u1", "v0", t, type="impression") for t in range(100)]
    shown += [event("u1", "v1", t, type="impression") for t in range(2)]
    clicks = [event("u1", "v0", t, type="click") for t in range(10)]
    clicks += [event("u1", "v1", t, type="click") for t in range(2)]
    p = prepared(table(*shown, *clicks))
    rate = counters(p.activity, 1e9).click_rate
    overall = 12 / 102
    row = [p.log.videos.row(f"v{j}") for j in range(3)]
    assert rate[row[0]] == pytest.approx((10 + 20 * overall) / 120)
    assert rate[row[1]] == pytest.approx((2 + 20 * overall) / 22)
    assert rate[row[2]] == pytest.approx(overall)


def test_the_past_of_a_log_does_not_depend_on_its_future() -> None:
    rows = many(300).sort_by("timestamp")
    whole = prepared(rows)
    half = prepared(rows.filter(pa.compute.field("timestamp") < 500))
    n = int(np.searchsorted(whole.log.time, 500))
    assert pairs(whole)[:n] == pairs(half)
    assert 0 < n < len(whole.log)


def test_prepared_data_are_stored_and_read_again(tmp_path: Path) -> None:
    for rows in (many(200), table()):
        p = prepared(rows)
        storage.save(p, tmp_path / "a")
        assert_same(p, storage.load(tmp_path / "a"))
    storage.save(prepared(many(200)), tmp_path / "c")
    storage.save(prepared(many(200)), tmp_path / "d")
    for name in storage.FILES:
        assert (tmp_path / "c" / name).read_bytes() == (tmp_path / "d" / name).read_bytes()


@pytest.mark.parametrize("dialect", ["athena", "trino", "duckdb"])
def test_the_expressions_compile_for_other_engines(dialect: str) -> None:
    source = ibis.table(ibis.Schema.from_pyarrow(event_table.SCHEMA), name="events")
    ids = ibis.table({"video_id": "string"}, name="catalogue_ids")
    rows = relational.judged(source, ids, now=NOW, tolerance=300)
    for expression in (
        relational.summary(rows),
        relational.activity(rows),
        relational.positives(rows, fraction=0.3, seconds=30, clicks=False),
    ):
        sql = ibis.to_sql(expression, dialect=dialect)
        assert "ROW_NUMBER() OVER" in sql
        assert "'in the future'" in sql
