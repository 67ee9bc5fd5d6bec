"""The recommender as a whole, in a home on a folder, with everything that may fail failing."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tests.worlds import NOW, D, Faulty, bundle, catalogue, moment, viewer
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.catalogue.models import VideoBody
from vireo.catalogue.store import UnknownVideo
from vireo.homes.clock import MovableClock
from vireo.homes.local import LocalHome, home
from vireo.homes.meter import LocalMeter
from vireo.keys import keys_of
from vireo.ports import Ports, Table, Unavailable
from vireo.recommender import serving
from vireo.recommender.models import Context, Recommendations, RecommendRequest
from vireo.recommender.service import Recommender
from vireo.viewers.viewer import Viewer

ODD = {j: {"age_rating": 18} for j in range(0, 200, 10)}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    bundles.write(bundle(catalogue(200, ODD)), folder)
    return folder


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "BRIEFLY", 30.0)


@pytest.fixture
def here(tmp_path: Path, published: Path) -> LocalHome:
    """A home whose bundle is on the disk already."""
    opened = home(tmp_path, clock=MovableClock(NOW), meter=LocalMeter())
    ports = opened.open("default")
    (Path(ports.scratch) / "bundles").mkdir()
    (Path(ports.scratch) / "bundles/b1").symlink_to(published)
    pointer.switch(ports.records, "b1", expect=None)
    return opened


@pytest.fixture
def ports(here: LocalHome) -> Ports:
    return here.open("default")


def recommender(ports: Ports, **more: Any) -> Recommender:
    return Recommender(ports, **({"viewer_seconds": 30.0} | more))


def store(ports: Ports, user_id: str, who: Viewer) -> None:
    ports.records.put(Table.VIEWERS, user_id, "", {"viewer": who.pack()})


def ask(to: Recommender, user_id: str = "anna", **more: Any) -> Recommendations:
    return to.recommend(RecommendRequest.model_validate({"user_id": user_id, **more}), "r-1")


def ids(answer: Any) -> list[str]:
    return [item.video_id for item in answer.items]


def test_a_known_viewer_is_recommended_to(ports: Ports) -> None:
    store(ports, "anna", viewer(1, 2, 3, age=30, country="DE"))
    answer = ask(recommender(ports), limit=10, debug=True)
    assert len(answer.items) == 10
    assert len(set(ids(answer))) == 10
    assert not {"v1", "v2", "v3"} & set(ids(answer))
    assert (answer.request_id, answer.user_id, answer.model_version) == ("r-1", "anna", "b1")
    assert answer.degraded == ()
    assert answer.stages is not None
    assert [s.stage for s in answer.stages] == ["candidates", "filtering", "ranking", "ordering"]
    assert ask(recommender(ports), limit=10).stages is None


def test_the_same_request_has_the_same_answer(ports: Ports) -> None:
    store(ports, "anna", viewer(1, 2, 3, age=30, country="DE"))
    one, two = (ask(recommender(ports), limit=10) for _ in range(2))
    assert one == two


def test_a_session_counts_like_what_is_stored(ports: Ports) -> None:
    to = recommender(ports)
    store(ports, "stored", viewer(5, 6, 7, pause=0.0, gap=1.0))
    times = [moment(0) - timedelta(seconds=s) for s in (2, 1, 0)]
    session = [{"video_id": f"v{j}", "at": t} for j, t in zip((5, 6, 7), times, strict=True)]
    tuning = {"explore_slots": 0}  # which is drawn by the user's id
    ports.records.put(Table.SETTINGS, "tuning", "", tuning)
    known, new = ask(to, "stored"), ask(to, "new", session=session)
    assert ids(known) == ids(new)
    assert not {"v5", "v6", "v7"} & set(ids(new))
    assert ids(ask(to, "new")) != ids(new)


def test_a_session_without_times_is_in_order(ports: Ports) -> None:
    to = recommender(ports)
    one = ask(to, session=[{"video_id": "v5"}, {"video_id": "v6"}])
    two = ask(to, session=[{"video_id": "v6"}, {"video_id": "v5"}])
    assert [i.score for i in one.items] != [i.score for i in two.items]


def test_exclusions_and_the_context(ports: Ports) -> None:
    to = recommender(ports)
    first = ids(ask(to))
    assert not set(first[:5]) & set(ids(ask(to, exclude=first[:5])))
    here = ask(to, context={"country": "DE", "device": "tv", "language": "de"})
    assert any(i.reason == "Popular in DE" for i in here.items)


def test_a_child_sees_nothing_for_adults(ports: Ports) -> None:
    adults = {f"v{j}" for j in ODD}
    to = recommender(ports)
    store(ports, "adult", viewer(age=40))
    store(ports, "child", viewer(age=10))
    assert adults & set(ids(ask(to, "adult", limit=100)))
    for user in ("child", "nobody-knows"):
        assert not adults & set(ids(ask(to, user, limit=100)))


def test_reasons_are_true(ports: Ports) -> None:
    store(ports, "anna", viewer(1, 2, 3, country="DE"))
    to = recommender(ports)
    answer = ask(to, limit=100)
    made = bundle(catalogue(200, ODD))
    table, columns = made.group("neighbours"), made.columns
    spoken: dict[int, dict[str, float]] = {}
    for j in (1, 2, 3):
        row = columns.row(f"v{j}")
        for at in range(table["indptr"][row], table["indptr"][row + 1]):
            target = int(table["indices"][at])
            spoken.setdefault(target, {})[f"Video number {j}"] = float(table["weights"][at])
    because = [i for i in answer.items if i.reason.startswith("Because")]
    assert because
    for item in because:
        weights = spoken[columns.row(item.video_id)]
        assert item.reason == f"Because you watched {max(weights, key=weights.__getitem__)}"
    organic = [i for i in answer.items if i.slot == "organic" and i not in because]
    assert {i.reason for i in organic} <= {"Picked for you", "Popular in DE", "Popular now"}


def test_a_video_of_a_minute_ago_is_shown(ports: Ports) -> None:
    to = recommender(ports)
    to.catalogue.put("fresh", VideoBody(title="Fresh", published_at=moment(0.001)))
    explored = [i for i in ask(to).items if i.slot == "explore"]
    assert [(i.video_id, i.reason) for i in explored] == [("fresh", "Something different")]
    ports.records.put(Table.SETTINGS, "tuning", "", {"fresh_boost": 10, "explore_slots": 0})
    first = ask(recommender(ports)).items[0]
    assert (first.video_id, first.slot, first.reason) == ("fresh", "organic", "New this week")


def test_a_failing_store_means_an_unknown_viewer(ports: Ports) -> None:
    store(ports, "anna", viewer(1, 2, 3))

    def before(name: str, args: tuple[Any, ...]) -> None:
        if args[:1] == (Table.VIEWERS,):
            raise Unavailable("down")

    answer = ask(recommender(replace(ports, records=Faulty(ports.records, before))))
    assert len(answer.items) == 20
    assert answer.degraded == ("viewer",)
    assert isinstance(ports.meter, LocalMeter)
    assert ports.meter.total("Degraded", part="viewer") == 1


def test_a_slow_store_is_not_waited_for(ports: Ports) -> None:
    gate = threading.Event()

    def before(name: str, args: tuple[Any, ...]) -> None:
        if args[:1] == (Table.VIEWERS,):
            gate.wait(30)

    to = recommender(replace(ports, records=Faulty(ports.records, before)), viewer_seconds=0.01)
    for _ in range(20):  # more than there are threads
        answer = ask(to)
        assert len(answer.items) == 20
        assert answer.degraded == ("viewer",)
    gate.set()


def test_a_record_of_another_version_is_an_unknown_viewer(ports: Ports) -> None:
    ports.records.put(Table.VIEWERS, "anna", "", {"viewer": b"\xff" * 200})
    assert ask(recommender(ports)).degraded == ("viewer",)


def test_popularity_alone_by_a_setting(ports: Ports) -> None:
    store(ports, "anna", viewer(1, 2, 3, country="DE"))
    tuning = {"popularity_only": True, "explore_slots": 0, "category_share": 1, "channel_share": 1}
    ports.records.put(Table.SETTINGS, "tuning", "", tuning)
    answer = ask(recommender(ports), limit=10)
    made = bundle(catalogue(200, ODD))
    rows = [r for r in made.arrays["popular"][1].tolist() if r >= 0]
    popular = [made.columns.ids[r].decode() for r in rows]
    hidden = {f"v{j}" for j in (*ODD, 1, 2, 3)}
    assert ids(answer) == [v for v in popular if v not in hidden][:10]
    assert {i.reason for i in answer.items} == {"Popular in DE"}


def campaign(**more: Any) -> dict[str, Any]:
    return {"campaign_id": "launch", "video_ids": ["v77"], "budget": 100, "cap": 2} | more


def test_promoted_videos_are_labelled_and_capped(ports: Ports) -> None:
    ports.records.put(Table.SETTINGS, "campaigns", "launch", campaign())
    to = recommender(ports)
    answers = [ask(to) for _ in range(4)]
    for j, answer in enumerate(answers):
        shown = [i for i in answer.items if i.slot == "promoted"]
        assert [(i.video_id, i.campaign_id, i.reason) for i in shown] == (
            [("v77", "launch", "Promoted")] if j < 2 else []
        )
        assert len(answer.items) == 20
        assert all(i.campaign_id is None for i in answer.items if i.slot != "promoted")
    assert any(i.slot == "promoted" for i in ask(to, "boris").items)


def test_no_cache_means_no_promotion_and_no_failure(ports: Ports) -> None:
    ports.records.put(Table.SETTINGS, "campaigns", "launch", campaign())

    class NoCache:
        def get(self, key: str) -> None: ...
        def put(self, key: str, value: bytes, *, seconds: float) -> None: ...
        def delete(self, key: str) -> None: ...
        def add(self, key: str, amount: int = 1, *, seconds: float) -> None: ...
        def add_all(self, amounts: Mapping[str, int], *, seconds: float) -> dict[str, int]:
            return {}

    answer = ask(recommender(replace(ports, cache=NoCache())))
    assert len(answer.items) == 20
    assert all(i.slot != "promoted" for i in answer.items)


def test_a_budget_that_cannot_be_counted_promotes_nothing(ports: Ports) -> None:
    ports.records.put(Table.SETTINGS, "campaigns", "launch", campaign())

    def before(name: str, args: tuple[Any, ...]) -> None:
        if name == "add":
            raise Unavailable("down")

    answer = ask(recommender(replace(ports, records=Faulty(ports.records, before))))
    assert len(answer.items) == 20
    assert all(i.slot != "promoted" for i in answer.items)
    assert answer.degraded == ("campaigns",)


def experiment(ports: Ports) -> None:
    variants = [{"name": "a", "tuning": {"explore_slots": 0}}, {"name": "b"}]
    row = {"name": "exploring", "variants": variants}
    ports.records.put(Table.SETTINGS, "experiments", "exploring", row)


def test_experiments_change_settings_and_are_logged(here: LocalHome, ports: Ports) -> None:
    experiment(ports)
    published: list[tuple[str, bytes]] = []
    arrived = threading.Semaphore(0)

    class Stream:
        def publish(self, records: Any) -> list[None]:
            published.extend(records)
            arrived.release()
            return [None]

    to = recommender(replace(ports, stream=Stream()))
    variants = {}
    for j in range(12):
        answer = ask(to, f"u{j}")
        variants[f"u{j}"] = answer.experiments["exploring"]
        explored = sum(i.slot == "explore" for i in answer.items)
        assert explored == (0 if variants[f"u{j}"] == "a" else 1)
        assert arrived.acquire(timeout=30)
    assert set(variants.values()) == {"a", "b"}
    logged = {key: orjson.loads(payload) for key, payload in published}
    assert {key: e["experiments"]["exploring"] for key, e in logged.items()} == variants
    assert logged["u1"]["type"] == "exposure"
    assert logged["u1"]["timestamp"] == NOW


def test_a_lost_exposure_costs_no_answer(ports: Ports) -> None:
    experiment(ports)
    tried = threading.Event()

    class Stream:
        def publish(self, records: Any) -> Any:
            tried.set()
            raise Unavailable("down")

    assert len(ask(recommender(replace(ports, stream=Stream()))).items) == 20
    assert tried.wait(30)


def test_similar_videos(ports: Ports) -> None:
    to, made = recommender(ports), bundle(catalogue(200, ODD))
    listing = to.similar("v5", 10, Context(), 40, "r-2")
    assert {i.reason for i in listing.items} == {"Similar to Video number 5"}
    assert len(listing.items) == 10
    assert "v5" not in ids(listing)
    assert listing.request_id == "r-2"
    row, table = made.columns.row("v5"), made.group("neighbours")
    nearest = table["indices"][table["indptr"][row] : table["indptr"][row + 1]]
    named = {made.columns.ids[r].decode() for r in nearest}
    assert len(named & set(ids(listing))) >= 4, "those watched together come high"
    vectors = made.arrays["vectors"][:, :-1]
    cosine = vectors @ vectors[row] / np.linalg.norm(vectors, axis=1)
    cosine[row] = -9
    closest = {made.columns.ids[r].decode() for r in np.argsort(-cosine)[:5]}
    assert closest & set(ids(listing)), "and those whose vectors point the same way"
    assert not {f"v{j}" for j in ODD} & set(ids(to.similar("v5", 100, Context(), 12, "r")))
    with pytest.raises(UnknownVideo):
        to.similar("nothing", 10, Context(), None, "r")


def test_a_new_video_has_similar_ones(ports: Ports) -> None:
    to = recommender(ports)
    to.catalogue.put("fresh", VideoBody(title="Video number 12", category="music"))
    assert len(to.similar("fresh", 10, Context(), None, "r").items) == 10


def test_trending(ports: Ports) -> None:
    to, made = recommender(ports), bundle(catalogue(200, ODD))
    trending = [made.columns.ids[r].decode() for r in made.arrays["trending"]]
    adult = ids(to.trending(10, Context(), 40, None, "r"))
    assert adult == trending[:10]
    allowed = [v for v in trending if int(v[1:]) not in ODD]
    assert ids(to.trending(10, Context(), None, None, "r")) == allowed[:10]
    music = [v for v in trending if int(v[1:]) % 4 == 0]
    assert ids(to.trending(100, Context(), 40, "music", "r"))[: len(music)] == music
    assert ids(to.trending(10, Context(), 40, "unheard of", "r")) == []


def test_what_a_bundle_learnt_of_an_id_is_not_used_for_the_erased(
    here: LocalHome, ports: Ports
) -> None:
    keys = np.sort(keys_of(["anna", "bob"]))
    learnt = np.random.default_rng(0).normal(size=(3, D)).astype(np.float32)
    users: dict[str, Any] = {"tower/users/keys": keys, "tower/users/vectors": learnt}
    bundles.publish(bundle(catalogue(200, ODD), version="b2", **users), ports.blobs)
    pointer.switch(ports.records, "b2", expect=pointer.current(ports.records))
    before = viewer(1, 2, 3, gap=3600)  # the first of them before the bundle's watermark
    for who in ("anna", "bob", "carl"):
        store(ports, who, before)
    of = recommender(ports)

    def scores(user_id: str) -> list[float | None]:
        found = ask(of, user_id, limit=20).items  # the others are drawn by id
        return [item.score for item in found if item.slot == "organic"]

    known = scores("anna")
    assert len({str(known), str(scores("bob")), str(scores("carl"))}) == 3
    of.viewers.erase("anna")
    assert scores("anna") == scores("nobody")
    # who comes back is a new viewer, also when they watch the same again
    since = viewer(1, 2, 3)
    store(ports, "anna", since)
    store(ports, "dora", since)
    assert scores("anna") == scores("dora")
