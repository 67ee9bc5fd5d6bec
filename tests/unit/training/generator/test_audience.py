"""Simulated viewers: what they click is their taste and the place, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from vireo.events.models import checked
from vireo.training import generator
from vireo.training.generator.audience import Audience

SIZE = generator.Settings(viewers=60, videos=400, events=1, seed=3)
NOW = SIZE.end


def audience(bias: float = 0.6) -> tuple[Audience, list[str]]:
    rng, videos, viewers = generator.people(SIZE)
    return Audience(rng, videos, viewers, bias=bias), videos.ids


@pytest.mark.parametrize("bias", [0.0, 0.6, 1.0])
def test_the_place_counts_as_much_as_it_is_said_to(bias: float) -> None:
    made, ids = audience(bias)
    rng = np.random.default_rng(1)
    clicks = np.zeros(10)
    for _ in range(4000):
        shown = rng.choice(ids, 10, replace=False).tolist()
        for event in made.react(int(rng.integers(60)), shown, "r", NOW):
            clicks[event["position"]] += event["type"] == "click"
    expected = (1.0 + np.arange(10)) ** -bias
    assert clicks.sum() > 600
    np.testing.assert_allclose(clicks / clicks.sum(), expected / expected.sum(), atol=0.03)


def test_what_suits_a_viewer_is_clicked_more() -> None:
    made, ids = audience(bias=0.0)
    clicks = {"best": 0, "worst": 0}
    for viewer in range(60):
        order = np.argsort(made.attraction(viewer, ids))
        for name, rows in (("worst", order[:10]), ("best", order[-10:])):
            events = made.react(viewer, [ids[r] for r in rows], "r", NOW)
            clicks[name] += sum(e["type"] == "click" for e in events)
    assert clicks["best"] > 5 * max(1, clicks["worst"])


def test_events_are_what_the_route_takes() -> None:
    made, ids = audience()
    events = [e for v in range(60) for e in made.react(v, ids[:20], f"r-{v}", NOW)]
    rows = [checked(event, NOW + 7200) for event in events]
    assert len({row.event_id for row in rows}) == len(rows)
    assert {row.type for row in rows} == {"impression", "click", "watch"}
    assert sum(row.type == "impression" for row in rows) == 1200
    assert made.react(0, [], "r", NOW) == []


def test_the_world_is_that_of_the_data_set() -> None:
    data = generator.generate(SIZE)
    _, videos, viewers = generator.people(SIZE)
    assert data.users == viewers.profiles
    assert {v.video_id: v.title for v in data.videos} == {
        v.video_id: v.title for v in videos.catalogue
    }
