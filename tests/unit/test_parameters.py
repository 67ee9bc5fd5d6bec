"""Ids of paths are decoded once and strictly, and queries are as strict as bodies."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vireo.parameters import decoded, number_errors, path_values, query_errors


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_escaped_comes_back(text: str) -> None:
    assert decoded(quote(text, safe="")) == text


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("anna%40example.com", "anna@example.com"),
        ("anna@example.com", "anna@example.com"),
        ("a+b", "a+b"),
        ("a%2Bb", "a+b"),
        ("a%2Fb%2fc", "a/b/c"),
        ("100%25", "100%"),
        ("a%2540b", "a%40b"),
        ("%25zz", "%zz"),
        ("%CE%BB", "λ"),
        ("λ", "λ"),
        ("%00", "\0"),
    ],
)
def test_decoded_once(sent: str, meant: str) -> None:
    assert decoded(sent) == meant


@pytest.mark.parametrize("sent", ["%zz", "%", "a%4", "%%40", "%u0040", "%ff", "%C3", "%ED%A0%80"])
def test_what_cannot_be_decoded(sent: str) -> None:
    with pytest.raises(ValueError, match="must"):
        decoded(sent)
    values, errors = path_values({"good": "a%20b", "bad": sent})
    assert values == {"good": "a b"}
    assert [error["loc"] for error in errors] == [("path", "bad")]


def test_names_repeats_and_nothing() -> None:
    given = {"limit": ["5"], "limt": ["5"], "age": ["1", "1"], "country": [""]}
    errors = query_errors(given, {"limit", "age", "country"})
    assert [error["loc"] for error in errors] == [
        ("query", "age"),
        ("query", "country"),
        ("query", "limt"),
    ]


@pytest.mark.parametrize("text", ["5.0", " 5", "5 ", "+5", "05", "5_0", "5.", "\u0665"])
def test_a_number_has_one_form(text: str) -> None:
    value = 50 if text == "5_0" else 5
    assert len([*number_errors({"limit": [text]}, {"limit": value})]) == 1
    assert not [*number_errors({"limit": [str(value)]}, {"limit": value})]
    assert not [*number_errors({"category": [text]}, {"category": text})]
