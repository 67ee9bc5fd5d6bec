"""The proof under emulation sees a difference, and says what it lacks; the proof itself is slow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.arm64 import proof


def answered(score: float | None = 0.5, **changes: Any) -> list[dict[str, Any]]:
    body = {"items": [{"video_id": "v1", "score": score}], "degraded": []} | changes
    return [{"status": 200, "body": body}]


def test_small_differences_of_scores_are_told() -> None:
    requests: list[dict[str, Any]] = [{"event": {}}]
    assert proof.compare(requests, answered(), answered(0.5 + 5e-6)) == pytest.approx(5e-6)
    assert proof.compare(requests, answered(), answered()) == 0.0


@pytest.mark.parametrize(
    "other",
    [
        answered(0.6),
        answered(None),
        answered(items=[{"video_id": "v2", "score": 0.5}]),
        answered(items=[]),
        [{"status": 503, "body": {}}],
    ],
)
def test_other_answers_are_no_proof(other: list[dict[str, Any]]) -> None:
    with pytest.raises(SystemExit):
        proof.compare([{"event": {}}], answered(), other)


def test_degraded_or_empty_answers_are_no_proof() -> None:
    for both in (answered(degraded=["viewer"]), answered(items=[])):
        with pytest.raises(SystemExit):
            proof.compare([{"event": {}}], both, both)


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install debootstrap dpkg fakeroot qemu-user-st"):
        proof.main()
