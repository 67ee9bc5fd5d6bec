"""Run documents: what parallel branches add is merged, and what is none is refused."""

from __future__ import annotations

import orjson
import pytest

from vireo.training.run import Run


def test_the_branches_of_a_run_are_merged() -> None:
    run = Run(run_id="r1", seed=3).with_artifact("prepared").with_metrics(data=1)
    left = run.with_artifact("retrieval").with_metrics(epochs=2)
    right = run.with_artifact("ranker").with_metrics(trees=3)
    document = {
        **run.model_dump(mode="json"),
        "branches": [b.model_dump(mode="json") for b in (left, right)],
    }
    merged = Run.of(orjson.loads(orjson.dumps(document)))
    assert merged == run.model_copy(
        update={
            "artifacts": {n: f"runs/r1/{n}" for n in ("prepared", "retrieval", "ranker")},
            "metrics": {"data": 1, "epochs": 2, "trees": 3},
        }
    )
    assert Run.of(merged.model_dump(mode="json")) == merged
    stranger = left.model_copy(update={"run_id": "r2"}).model_dump(mode="json")
    with pytest.raises(ValueError, match="different runs"):
        Run.of({**document, "branches": [stranger]})
    stranger = left.model_copy(update={"tenant": "acme"}).model_dump(mode="json")
    with pytest.raises(ValueError, match="different runs"):
        Run.of({**document, "branches": [stranger]})
    with pytest.raises(ValueError, match="extra"):
        Run.of({"run_id": "r1", "surprise": 1})
    with pytest.raises(ValueError, match="pattern"):
        Run.of({"run_id": "../r1"})
