"""docs/features.md: the row of each feature that pgqueue has mentions tests, and these tests exist. The row of a feature that pgqueue does not have mentions no test."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS, OTHERS = (
    [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in part.splitlines()
        if line.startswith("| ")
    ]
    for part in (ROOT / "docs/features.md").read_text(encoding="utf-8").split("\n## ")[1:]
)
FEATURES = [row for row in OURS if row[0] != "Feature"]  # the other rows are heads of tables
TEST = re.compile(r"`(tests/\w+/test_\w+\.py)::(test_\w+)`")
MOST = 3  # a row mentions at most this many tests
FACTS = ["Store, runtime, licence", "Maturity"]  # rows that are about no feature


@cache
def functions_in(module: str) -> frozenset[str]:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


def test_every_test_that_the_page_mentions_exists():
    named = [TEST.fullmatch(name) for row in FEATURES for name in row[2].split("<br>") if name != "-"]
    assert None not in named, "each mention of a test is a path and a function"
    missing = [
        f"{module}::{test}"
        for module, test in sorted({match.groups() for match in named})
        if not (ROOT / module).is_file() or test not in functions_in(module)
    ]
    assert missing == []


def test_only_features_that_pgqueue_has_mention_tests():
    claims = {row[0]: (row[1], len(TEST.findall(row[2]))) for row in FEATURES}
    assert len(claims) == len(FEATURES) > 50, "each feature has one row"
    assert [
        feature for feature, (claim, _) in claims.items() if not re.match(r"(yes|partly|no)\b", claim)
    ] == FACTS
    for feature, (claim, count) in claims.items():
        if re.match(r"(yes|partly)\b", claim):
            assert 1 <= count <= MOST, feature
        else:
            assert count == 0, feature


def test_both_comparisons_list_the_same_features_and_say_the_same_about_pgqueue():
    for rows in (OURS, OTHERS):
        heads = [row for row in rows if row[0] == "Feature"]
        assert all(row == heads[0] for row in heads)
        assert {len(row) for row in rows} == {len(heads[0])}
    assert [row[0] for row in OURS] == [row[0] for row in OTHERS]
    for ours, others in zip(OURS, OTHERS, strict=True):
        assert ours[1].replace("partly", "part").startswith(others[1]), ours[0]
