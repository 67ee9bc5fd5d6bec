"""Variants: the same for ever, shared by weight, independent of each other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vireo.homes.local import home
from vireo.ports import Records, Table
from vireo.recommender.steering import controls
from vireo.recommender.steering.experiments import Experiment, Variant, assignments, tuned
from vireo.recommender.steering.tuning import Tuning

USERS = [f"user-{j}" for j in range(4000)]


def experiment(name: str = "boost", *weights: float, **more: Any) -> Experiment:
    variants = [Variant(name=f"v{j}", weight=w) for j, w in enumerate(weights or (1, 1))]
    return Experiment(name=name, variants=tuple(variants), **more)


def test_an_assignment_never_changes() -> None:
    """Another hash would move every viewer of every running experiment."""
    pinned = experiment("pinned", 1, 1, 1)
    found = [pinned.assign(user).name for user in "abcdef"]
    assert found == ["v0", "v2", "v2", "v2", "v2", "v1"]


def test_weights_share_the_viewers() -> None:
    counts = Counter(experiment("shares", 1, 2, 5).assign(u).name for u in USERS)
    for name, share in (("v0", 1 / 8), ("v1", 2 / 8), ("v2", 5 / 8)):
        assert counts[name] / len(USERS) == pytest.approx(share, abs=0.03)


def test_experiments_are_independent() -> None:
    one, two = experiment("one"), experiment("two")
    both = Counter((one.assign(u).name, two.assign(u).name) for u in USERS)
    for count in both.values():
        assert count / len(USERS) == pytest.approx(0.25, abs=0.03)


def test_only_active_ones_count() -> None:
    found = assignments([experiment("on"), experiment("off", active=False)], "anna")
    assert list(found) == ["on"]


def test_variants_change_the_tuning() -> None:
    base = Tuning(fresh_boost=0.3)
    one = Variant(name="a", tuning={"fresh_boost": 2.0, "explore_slots": 3})
    two = Variant(name="b", tuning={"explore_slots": 0})
    assert tuned(base, [one, two]) == Tuning(fresh_boost=2.0, explore_slots=0)
    assert tuned(base, []) is base


@pytest.mark.parametrize("tuning", [{"fresh_bost": 1}, {"explore_slots": -1}])
def test_a_variant_that_is_no_tuning_is_refused(tuning: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Variant(name="a", tuning=tuning)


def test_two_variants_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="share a name"):
        Experiment(name="x", variants=(Variant(name="a"), Variant(name="a")))


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return home(tmp_path).open("default").records


def test_controls_are_read_from_records(records: Records) -> None:
    assert controls.read(records) == controls.Controls()
    records.put(Table.SETTINGS, "tuning", "", {"popularity_only": True, "fresh_boost": 1.0})
    variants = [{"name": "a", "tuning": {"explore_slots": 4}}]
    records.put(Table.SETTINGS, "experiments", "x", {"name": "x", "variants": variants})
    for name, priority in (("low", 1), ("high", 2)):
        row = {"campaign_id": name, "video_ids": ["v"], "budget": 5, "priority": priority}
        records.put(Table.SETTINGS, "campaigns", name, row)
    found = controls.read(records)
    assert [c.campaign_id for c in found.campaigns] == ["high", "low"]
    tuning, names = found.tuning_for("anna")
    assert names == {"x": "a"}
    assert tuning == Tuning(popularity_only=True, fresh_boost=1.0, explore_slots=4)
    assert found.problems == ()


def test_a_mistake_in_one_row_leaves_the_others(records: Records) -> None:
    records.put(Table.SETTINGS, "tuning", "", {"popularity": True})
    records.put(Table.SETTINGS, "experiments", "bad", {"name": "bad", "variants": []})
    records.put(Table.SETTINGS, "campaigns", "worse", {"campaign_id": "worse"})
    good = {"campaign_id": "good", "video_ids": ["v"], "budget": 5}
    records.put(Table.SETTINGS, "campaigns", "good", good)
    found = controls.read(records)
    assert found.tuning == Tuning()
    assert [c.campaign_id for c in found.campaigns] == ["good"]
    assert found.problems == ("tuning", "experiments/bad", "campaigns/worse")


def test_highest_rating() -> None:
    tuning = Tuning(unknown_age=15, region_rating={"SA": 12})
    assert tuning.highest_rating(None, None) == 15
    assert tuning.highest_rating(40, "SA") == 12
    assert tuning.highest_rating(9, "SA") == 9
    assert tuning.highest_rating(40, "DE") == 40
