"""What a client sees, over HTTP, of models that the state machine has trained."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import orjson
import pytest

from scripts import rollback
from tests.e2e.conftest import TENANT, Client, Laptop, Open, serving
from vireo.bundles import files as bundles
from vireo.bundles import pointer
from vireo.keys import keys_of
from vireo.ports import Table
from vireo.recommender.contents import ModelBundle
from vireo.recommender.users import Viewers
from vireo.viewers.viewer import Viewer

KNOWN = "u00169"  #: a viewer who watches a lot


def viewer_of(laptop: Laptop, user: str = KNOWN) -> Viewer:
    found = Viewers(laptop.ports).read(user)
    assert found is not None
    return found


def bundle_of(laptop: Laptop, version: str = "first") -> ModelBundle:
    return bundles.load(laptop.folder / "scratch" / TENANT / "bundles" / version, ModelBundle)


def test_health_is_answered_by_the_gateway_itself(client: Client) -> None:
    assert client.call("GET", "/health", token="none").body == {"status": "ok"}


def test_a_known_viewer(client: Client) -> None:
    answer = client.recommend(KNOWN, limit=20, debug=True)
    ids, body = answer.ids, answer.body
    assert len(ids) == len(set(ids)) == 20
    watched = viewer_of(client.laptop).watched
    assert len(watched) > 20
    assert not np.isin(keys_of(ids), watched).any()
    assert body["model_version"] == "first"
    assert body["degraded"] == []
    assert all(item["reason"] and item["title"] for item in body["items"])
    assert any(item["reason"].startswith("Because you watched ") for item in body["items"])
    assert {s["stage"] for s in body["stages"]} >= {"candidates", "filtering", "ranking"}
    assert client.recommend(KNOWN, limit=20).ids == ids


def test_viewers_differ_and_so_do_their_lists(client: Client) -> None:
    lists = {tuple(client.recommend(f"u{j:05d}").ids) for j in range(20)}
    assert len(lists) == 20


def test_an_unknown_viewer(client: Client) -> None:
    answer = client.recommend("nobody-knows-me", context={"device": "tv", "country": "DE"})
    assert len(set(answer.ids)) == 20
    assert answer.body["degraded"] == []
    assert not any("Because" in item["reason"] for item in answer.body["items"])


def test_videos_of_this_session_change_the_answer_at_once(client: Client) -> None:
    before = client.recommend("nobody-knows-me").ids
    session = [{"video_id": v, "fraction": 0.9} for v in before[:3]]
    answer = client.recommend("nobody-knows-me", session=session)
    assert not set(before[:3]) & set(answer.ids)
    assert set(answer.ids) - set(before)
    titles = [client.call("GET", f"/v1/videos/{v}").body["title"] for v in before[:3]]
    reasons = {item["reason"] for item in answer.body["items"]}
    assert reasons & {f"Because you watched {title}" for title in titles}


def test_exclusions(client: Client) -> None:
    before = client.recommend(KNOWN).ids
    after = client.recommend(KNOWN, exclude=before[:7]).ids
    assert len(after) == 20
    assert not set(before[:7]) & set(after)


def test_a_new_video_is_recommended_and_can_be_read(client: Client) -> None:
    viewers = [f"u{j:05d}" for j in range(40)]
    model = client.call("GET", f"/v1/videos/{client.recommend(KNOWN).ids[0]}").body
    published = client.call("GET", "/v1/trending?limit=1")
    assert published.status == 200
    body = {k: model[k] for k in ("category", "language", "duration_seconds", "tags", "channel_id")}
    body |= {"title": f"{model['title']} again", "published_at": "2024-12-18T00:00:30Z"}
    stored = client.call("PUT", "/v1/videos/a-minute-ago", body)
    assert stored.status == 200, stored.body
    assert client.call("GET", "/v1/videos/a-minute-ago").body == stored.body
    assert not any("a-minute-ago" in client.recommend(v, limit=50).ids for v in viewers)
    client.later(30)
    shown = [v for v in viewers if "a-minute-ago" in client.recommend(v, limit=50).ids]
    assert shown
    assert client.call("GET", "/v1/videos/a-minute-ago/similar").ids


def test_a_deleted_video_is_gone_thirty_seconds_later(client: Client) -> None:
    gone = client.recommend(KNOWN).ids[0]
    neighbour = client.call("GET", f"/v1/videos/{gone}/similar").ids[0]
    assert client.call("DELETE", f"/v1/videos/{gone}").body == {"deleted": True}
    assert client.call("GET", f"/v1/videos/{gone}").status == 404
    client.laptop.clock.advance(30)
    assert gone not in client.recommend(KNOWN, limit=100).ids
    assert gone not in client.call("GET", f"/v1/videos/{neighbour}/similar?limit=100").ids
    assert gone not in client.call("GET", "/v1/trending?limit=100").ids
    assert client.call("DELETE", f"/v1/videos/{gone}").status == 404


def test_a_video_deleted_under_load_is_gone_thirty_seconds_later(client: Client) -> None:
    clock = client.laptop.clock
    users = [f"u{j:05d}" for j in range(60)]
    shown = [v for user in users for v in client.recommend(user, limit=50).ids]
    gone = max(sorted(set(shown)), key=shown.count)  # what most of them are shown
    seen: list[tuple[float, int, bool]] = []
    stop = threading.Event()

    def ask(own: list[str]) -> None:
        while not stop.is_set():
            for user in own:
                asked = clock.now()
                answer = client.recommend(user, limit=50)
                found = gone in answer.ids if answer.status == 200 else False
                seen.append((asked, answer.status, found))

    threads = [threading.Thread(target=ask, args=(users[j::6],)) for j in range(6)]

    def wait_for_answers(count: int = 30) -> None:
        enough = len(seen) + count
        while len(seen) < enough:
            assert any(t.is_alive() for t in threads)
            stop.wait(0.01)

    for thread in threads:
        thread.start()
    try:
        wait_for_answers(60)
        deleted = clock.now()
        assert client.call("DELETE", f"/v1/videos/{gone}").status == 200
        for _ in range(8):
            clock.advance(5)
            wait_for_answers()
        wait_for_answers(60)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert {status for _, status, _ in seen} == {200}
    assert any(found for at, _, found in seen if at <= deleted)
    late = [found for at, _, found in seen if at >= deleted + 30]
    assert len(late) > 60
    assert not any(late)


def test_similar_videos_of_every_watched_one(client: Client) -> None:
    model = bundle_of(client.laptop)
    titles = dict(zip(model.columns.keys.tolist(), model.columns.ids.tolist(), strict=True))
    asked = [titles[k].decode() for k in viewer_of(client.laptop).keys[-5:].tolist()]
    lists = [client.call("GET", f"/v1/videos/{v}/similar?limit=10").ids for v in asked]
    assert all(len(found) == len(set(found)) == 10 for found in lists)
    assert all(v not in found for v, found in zip(asked, lists, strict=True))
    assert len({tuple(found) for found in lists}) == len(asked)


def test_trending_by_category(client: Client) -> None:
    everything = client.call("GET", "/v1/trending?limit=50").ids
    assert len(set(everything)) == 50
    category = client.call("GET", f"/v1/videos/{everything[0]}").body["category"]
    some = client.call("GET", f"/v1/trending?limit=10&category={category}").ids
    assert some[0] == everything[0]
    assert {client.call("GET", f"/v1/videos/{v}").body["category"] for v in some} == {category}


def test_a_profile_is_written_read_and_used(client: Client) -> None:
    assert client.call("GET", "/v1/users/anna").status == 404
    written = client.call("PUT", "/v1/users/anna", {"age": 34, "country": "DE", "language": "de"})
    assert written.status == 200
    assert client.call("GET", "/v1/users/anna").body == written.body
    assert written.body["watched"] == 0
    grown = client.recommend("anna", limit=50).ids
    client.call("PUT", "/v1/users/anna", {"age": 9, "country": "DE", "language": "de"})
    for video_id in client.recommend("anna", limit=50).ids:
        assert client.call("GET", f"/v1/videos/{video_id}").body["age_rating"] <= 9
    assert any(
        client.call("GET", f"/v1/videos/{video_id}").body["age_rating"] > 9 for video_id in grown
    )


def test_an_erased_person_is_unknown(client: Client) -> None:
    assert client.call("GET", f"/v1/users/{KNOWN}").body["watched"] > 20
    erased = client.call("DELETE", f"/v1/users/{KNOWN}").body
    assert (erased["deleted"], erased["record"]) == (True, True)
    assert erased["events"] > 0
    assert client.call("GET", f"/v1/users/{KNOWN}").status == 404
    answer = client.recommend(KNOWN)
    assert len(answer.ids) == 20
    assert not any("Because" in item["reason"] for item in answer.body["items"])
    organic = [i["video_id"] for i in answer.body["items"] if i["slot"] == "organic"]
    stranger = client.recommend("nobody-knows-me").body["items"]
    assert organic == [i["video_id"] for i in stranger if i["slot"] == "organic"]


def test_popularity_alone_by_a_switch(client: Client) -> None:
    popular = bundle_of(client.laptop)
    columns = popular.columns

    def in_order(user: str) -> bool:
        """Whether the organic part of a list has the order of popularity."""
        items = client.recommend(user, limit=30, context={"country": "XX"}).body["items"]
        ids = [i["video_id"] for i in items if i["slot"] == "organic"]
        place = {row: j for j, row in enumerate(popular.arrays["popular"][0].tolist())}
        rows = columns.rows(keys_of(ids)).tolist()
        places = [place.get(row, len(place)) for row in rows]
        return len(ids) > 20 and places == sorted(places)

    assert not in_order(KNOWN)
    # The rules of variety would reorder even that; they are settings of the same row.
    tuning = {"popularity_only": True, "category_share": 1.0, "channel_share": 1.0}
    client.laptop.ports.records.put(
        Table.SETTINGS, "tuning", "", {**tuning, "fresh_boost": 0.0, "explore_slots": 0}
    )
    client.later(30)
    assert in_order(KNOWN)
    client.laptop.ports.records.delete(Table.SETTINGS, "tuning")
    client.later(30)
    assert not in_order(KNOWN)


def test_what_a_deployment_leaves(laptop: Laptop) -> None:
    ports = laptop.ports
    html = ports.blobs.read("bundles/first/report.html").decode()
    document = orjson.loads(ports.blobs.read("bundles/first/report.json"))
    assert "Training run first" in html
    assert "<svg" in html
    assert {e["protocol"] for e in document["evaluations"]} == {"temporal", "successive"}
    assert pointer.current(ports.records) == pointer.Pointer("first", None, 1)
    model = ports.records.get(Table.REGISTRY, "models", "first")
    run = ports.records.get(Table.REGISTRY, "runs", "first")
    assert model is not None
    assert run is not None
    assert model.item["videos"] == 1_000
    assert model.item["metrics"]["temporal"]["Vireo"].keys() >= {"ndcg@10", "recall@100"}
    assert (run.item["deploy"], run.item["reasons"]) == (True, [])


def test_the_same_models_and_seed_make_the_same_bundle(laptop: Laptop) -> None:
    laptop.deploy("again", seed=1)
    first, again = (
        orjson.loads(laptop.ports.blobs.read(f"bundles/{version}/manifest.json"))["files"]
        for version in ("first", "again")
    )
    assert len(first) > 40
    assert first.keys() == again.keys()
    differing = {name for name in first if first[name] != again[name]}
    assert not differing


@pytest.fixture
def deployed_twice(open_copy: Open) -> Iterator[Client]:
    laptop = open_copy()
    with serving(laptop) as client:
        assert client.recommend(KNOWN).body["model_version"] == "first"
        laptop.deploy("second")
        client.later(30)
        assert client.recommend(KNOWN).body["model_version"] == "second"
        yield client


def test_rollback(deployed_twice: Client, capsys: pytest.CaptureFixture[str]) -> None:
    client, state = deployed_twice, ["--state", str(deployed_twice.laptop.folder)]
    second = client.recommend(KNOWN).body["items"]
    rollback.main(state)
    assert capsys.readouterr().out == "second served; first serves now.\n"
    client.later(30)
    answer = client.recommend(KNOWN)
    assert answer.body["model_version"] == "first"
    assert answer.body["items"] != second
    rollback.main([*state, "--to", "second"])
    assert capsys.readouterr().out == "first served; second serves now.\n"
    client.later(30)
    assert client.recommend(KNOWN).body["items"] == second
    for argument, said in (
        (["--to", "third"], "the registry does not know third; it knows first, second"),
        (["--tenant", "nobody"], "no bundle serves"),
    ):
        with pytest.raises(SystemExit, match=said):
            rollback.main([*state, *argument])


def test_rollback_to_a_damaged_bundle_switches_nothing(laptop: Laptop) -> None:
    ports = laptop.ports
    with pytest.raises(SystemExit, match="first is the first bundle that serves"):
        rollback.main(["--state", str(laptop.folder)])
    ports.records.put(Table.REGISTRY, "models", "half", {})
    ports.blobs.write("bundles/half/manifest.json", ports.blobs.read("bundles/first/manifest.json"))
    with pytest.raises(SystemExit, match=r"not whole: manifest\.json: that of first"):
        rollback.main(["--state", str(laptop.folder), "--to", "half"])
    assert laptop.serves == "first"
