"""The list of components, held against what one request really runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Any

import numpy as np

from tests.e2e.conftest import Laptop
from vireo.ports import Table
from vireo.recommender import features, filtering, ordering
from vireo.recommender.candidates import candidates
from vireo.recommender.components import components
from vireo.recommender.models import RecommendRequest
from vireo.recommender.service import Recommender
from vireo.recommender.slate import PROPOSERS, Slate

CAMPAIGN = {"campaign_id": "launch", "video_ids": ["v000700"], "budget": 1000}


class Watch:
    """Which functions were entered, and what `candidates` returned."""

    def __init__(self) -> None:
        self.entered: dict[CodeType, None] = {}
        self.retrieved = Slate.empty()

    def __call__(self, frame: FrameType, event: str, returned: Any) -> None:
        if event == "call":
            self.entered.setdefault(frame.f_code)
        elif event == "return" and frame.f_code is candidates.__code__:
            self.retrieved = returned

    def ran(self, table: Mapping[str, Callable[..., Any]]) -> list[str]:
        """Names of a table's functions, in the order in which they were first entered."""
        found = {function.__code__: name for name, function in table.items()}
        return [found[code] for code in self.entered if code in found]


def test_components_are_what_a_request_runs(laptop: Laptop) -> None:
    laptop.ports.records.put(Table.SETTINGS, "campaigns", "launch", CAMPAIGN)
    recommender = Recommender(laptop.ports, viewer_seconds=30.0)
    body = RecommendRequest(user_id="u00169", debug=True)
    recommender.recommend(body, "loads the model")
    watch = Watch()
    sys.setprofile(watch)
    try:
        answer = recommender.recommend(body, "is watched")
    finally:
        sys.setprofile(None)
    listed = {kind: [one.name for one in parts] for kind, parts in components().items()}
    assert answer.stages is not None
    assert listed["stages"] == [stage.stage for stage in answer.stages]
    assert listed["filters"] == watch.ran(filtering.RULES)
    assert listed["ordering"] == watch.ran(ordering.RULES)
    bits = int(np.bitwise_or.reduce(watch.retrieved.proposed))
    assert listed["sources"] == [p for j, p in enumerate(PROPOSERS) if bits >> j & 1]
    table = features.NUMBERS | features.CODES
    assert listed["features"] == list(table)
    assert {function.__code__ for function in table.values()} <= set(watch.entered)
    # and no rule runs that is not listed
    rules = {function.__code__ for function in ordering.RULES.values()}
    public = {c for c in watch.entered if c.co_filename == ordering.__file__} - rules
    assert {c.co_name for c in public if not c.co_name.startswith(("_", "<"))} == set()


def test_every_component_says_what_it_does() -> None:
    for parts in components().values():
        assert len({one.name for one in parts}) == len(parts)
        assert all(len(one.description) > 8 for one in parts)
