"""Progress as people see it: bars on a terminal, lines in a log."""

from __future__ import annotations

import io

import pytest

from vireo.jobs import terminal
from vireo.jobs.terminal import Terminal


class Screen(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_log_has_the_beginning_and_the_end_of_a_task() -> None:
    log = io.StringIO()
    with Terminal(log) as shown:
        for done in range(11):
            shown.task("data")(done / 10, f"part {done}")
    said = [line.split(maxsplit=2)[2].strip() for line in log.getvalue().splitlines()]
    assert said == ["data          0%  part 0", "data        100%  part 10"]


def test_rows_of_which_nobody_knows_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "EVERY", 0.0)
    log = io.StringIO()
    with Terminal(log) as shown:
        shown("reading", None, "120,000 rows")
        shown("videos", 0.25, "250 of 1,000")
    said = [line.split(maxsplit=2)[2].split() for line in log.getvalue().splitlines()]
    assert said == [
        ["reading", "120,000", "rows"],
        ["videos", "25%", "250", "of", "1,000"],
    ]


def test_a_shownhas_a_bar_for_each_task() -> None:
    screen = Screen()
    with Terminal(screen) as shown:
        shown("reading", None, "120,000 rows")
        shown("videos", 0.25, "250 of 1,000")
        shown("videos", 1.0, "1,000 of 1,000")
    said = screen.getvalue()
    assert "videos      100% |" in said
    assert "1,000 of 1,000" in said
    assert "120,000 rows" in said
    assert "reading       0%" not in said
