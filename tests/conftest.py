"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A busy machine fails no test, and the same tests fail every time: with examples drawn anew (the
# profile "explore", `pytest --hypothesis-profile explore`) one looks for what nobody has seen yet.
settings.register_profile("explore", deadline=None)
settings.register_profile("same", deadline=None, derandomize=True)
settings.load_profile("same")
