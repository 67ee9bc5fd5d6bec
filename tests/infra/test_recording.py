"""Patterns of policies are read as IAM reads them, and wide ones are found."""

from __future__ import annotations

import pytest

from tests.infra.account import Statement
from tests.infra.recording import complaints, matches


@pytest.mark.parametrize(
    ("wide", "is_wide"),
    [
        ("*", True),
        ("arn:aws:dynamodb:r:a:table/*", True),
        ("arn:aws:s3:::bucket/*", True),
        ("arn:aws:s3:::*/bundles/x", True),
        ("arn:aws:s3:::bucket/*/bundles/*", False),
    ],
)
def test_wildcards_are_found(wide: str, is_wide: bool) -> None:
    found = complaints([Statement(("s3:GetObject",), (wide,))], set())
    assert (f"too wide: {wide}" in found) == is_wide


def test_patterns_are_those_of_iam() -> None:
    assert matches("a/*/b/*", "a/1/2/b/3")
    assert matches("*", "")
    assert matches("x*", "x")
    assert not matches("a/*/b/*", "a/1/c/3")
    assert not matches("a", "ab")
    assert not matches("*a", "b")
