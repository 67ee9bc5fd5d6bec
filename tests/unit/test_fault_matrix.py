"""The faults of docs/operations.md are proved by tests that there are."""

from __future__ import annotations

import ast

import pytest

from tests import pages
from tests.sources import ROOT

(ROWS,) = pages.tables("operations.md")["Faults"]


def test_there_are_faults_enough_and_each_once() -> None:
    faults = [row["fault"] for row in ROWS]
    assert len(faults) >= 40
    assert len(set(faults)) == len(faults)
    proofs = [row["test that proves it"] for row in ROWS]
    assert len(set(proofs)) == len(proofs), "a promise has a test of its own"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["fault"])
def test_what_proves_it_is_a_test(row: pages.Row) -> None:
    assert row["what is promised"]
    (proof,) = pages.codes(row["test that proves it"])
    path, _, name = proof.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    (found,) = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    assert name.startswith("test_")
    skipped = [d for d in found.decorator_list if "skip" in ast.dump(d) or "xfail" in ast.dump(d)]
    assert not skipped, "a test that does not run proves nothing"
