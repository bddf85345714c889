"""docs/internals/faults/: every section has all its parts, every test that it mentions exists, and faults.md lists all sections."""

from __future__ import annotations

import re

import pytest

from tests.unit.test_features import ROOT, functions_in

INDEX = ROOT / "docs/internals/faults.md"
PAGES = {
    path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs/internals/faults").glob("*.md")
}
SECTION = re.compile(r"^## (\d+\. .+)\n((?:(?!^## ).*\n)*)", re.MULTILINE)
SECTIONS = {head: text for page in PAGES.values() for head, text in SECTION.findall(page)}
NAME = re.compile(r"`(?P<module>tests/\w+/test_\w+\.py)?(?:::(?P<test>test_\w+))?`")


def number(head: str) -> int:
    return int(head.split(".", maxsplit=1)[0])


def mentioned(text: str) -> list[tuple[str, str]]:
    """Returns each test that the text mentions, with its module. A name without a module belongs to the module before it. If a module is mentioned without a test, the name of the test is ""."""
    module, found = "", []
    for match in NAME.finditer(text):
        module = match["module"] or module
        if match.group() != "``":
            found.append((module, match["test"] or ""))
    return found


def test_the_sections_are_numbered():
    assert sorted(map(number, SECTIONS)) == list(range(1, 40))
    assert sum(len(re.findall(r"^## \d", page, re.MULTILINE)) for page in PAGES.values()) == len(SECTIONS)


def test_the_index_lists_each_page_with_its_sections():
    listed = re.findall(
        r"^## \[(.+)\]\(faults/(.+)\)\n\n((?:\d+\. .+\n)+)", INDEX.read_text("utf-8"), re.MULTILINE
    )
    there = [
        (
            page.split("\n", maxsplit=1)[0].removeprefix("# "),
            name,
            "".join(f"{head}\n" for head, _ in SECTION.findall(page)),
        )
        for name, page in PAGES.items()
        if SECTION.search(page)
    ]
    assert listed == sorted(there, key=lambda page: number(page[2]))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_at_most_400_lines(name):
    assert PAGES[name].count("\n") <= 400


@pytest.mark.parametrize("head", SECTIONS)
def test_a_section_mentions_tests_that_exist_and_says_what_users_notice(head):
    tests = mentioned(SECTIONS[head])
    assert tests, "each fault has at least one test"
    missing = [
        f"{module}::{test}"
        for module, test in tests
        if not (ROOT / module).is_file() or (test and test not in functions_in(module))
    ]
    assert missing == []
    assert re.search(r"^Users notice: ", SECTIONS[head], re.MULTILINE)
    assert re.search(r"\broot: ", SECTIONS[head], re.IGNORECASE)
