"""CHANGELOG.md has the form of Keep a Changelog, so that people and programs find what changed in a version."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path

import pgqueue

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
VERSION = re.compile(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)")


def parts(text: str, mark: str) -> list[tuple[str, str]]:
    """Returns the headings of one level with the text below each."""
    found = re.split(rf"^{mark} (.+)$", text, flags=re.MULTILINE)[1:]
    return list(zip(found[::2], found[1::2], strict=True))


RELEASES = parts(CHANGELOG, "##")
NUMBERED = [VERSION.fullmatch(head) for head, _ in RELEASES if head != "[Unreleased]"]


def test_each_version_has_a_number_and_the_date_of_its_release():
    assert all(NUMBERED), [head for head, _ in RELEASES]
    numbers = [tuple(map(int, found.groups()[:3])) for found in NUMBERED if found]
    dates = [date.fromisoformat(found[4]) for found in NUMBERED if found]
    assert numbers == sorted(set(numbers), reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_only_the_newest_section_can_be_unreleased():
    assert "[Unreleased]" not in [head for head, _ in RELEASES[1:]]


def test_each_section_lists_its_changes_by_kind():
    for release, text in RELEASES:
        kinds = [kind for kind, _ in parts(text, "###")]
        assert kinds, release
        assert kinds == [kind for kind in KINDS if kind in kinds], f"{release}: each kind once, in this order"
        for kind, changes in parts(text, "###"):
            assert re.search(r"^- ", changes, re.MULTILINE), f"{release}, {kind} is empty"


def test_the_package_has_one_version_and_the_changelog_leads_to_it():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert pgqueue.__version__ == declared
    released = [".".join(found.groups()[:3]) for found in NUMBERED if found]
    assert declared in released or RELEASES[0][0] == "[Unreleased]"
