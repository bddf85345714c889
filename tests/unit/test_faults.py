"""docs/internals/faults.md: every section is whole, and every test that it names exists."""

from __future__ import annotations

import re

import pytest

from tests.unit.test_features import ROOT, shown_by

PAGE = (ROOT / "docs/internals/faults.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\d+\. .+)\n((?:(?!^##).*\n)*)", PAGE, re.MULTILINE))
NAME = re.compile(r"`(?P<module>tests/\w+/test_\w+\.py)?(?:::(?P<test>test_\w+))?`")


def named(text: str) -> list[tuple[str, str]]:
    """Each test that is named with its module; a name without one is of the module before it. "" for all of a module."""
    module, found = "", []
    for match in NAME.finditer(text):
        module = match["module"] or module
        if match.group() != "``":
            found.append((module, match["test"] or ""))
    return found


def test_the_sections_are_numbered():
    assert [int(head.split(".")[0]) for head in SECTIONS] == list(range(1, 36))


@pytest.mark.parametrize("head", SECTIONS)
def test_a_section_names_tests_that_exist_and_says_what_users_notice(head):
    tests = named(SECTIONS[head])
    assert tests, "a fault is a test"
    missing = [
        f"{module}::{test}"
        for module, test in tests
        if not (ROOT / module).is_file() or (test and test not in shown_by(module))
    ]
    assert missing == []
    assert re.search(r"^Users notice: ", SECTIONS[head], re.MULTILINE)
    assert re.search(r"\broot: ", SECTIONS[head], re.IGNORECASE)
