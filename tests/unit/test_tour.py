"""Pages about the code: every file that they mention exists, and each function that is mentioned right after a file is defined in that file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs/contributing.md", *sorted((ROOT / "docs/internals").rglob("*.md"))]
TOURS = [ROOT / "docs/internals/tour.md", ROOT / "docs/internals/long-work.md"]
FOLDERS = ("pgqueue", "tests", "docs", "bench", "migrations")

FILE = re.compile(r"(?<![\w/-])(?<!-m )((?:\w[\w-]*/)*\w[\w-]*\.(?:py|sql|md))\b")
# A file, and right after it the names that are defined in that file: `lease.py` `Lease.watch`, `Lease.lose`
IN = r"`(?![\w.]+\.(?:py|sql)`)[\w.]+`"
BESIDE = re.compile(rf"`((?:\w+/)*\w+\.(?:py|sql))` ({IN}(?:,? (?:and )?{IN})*)")
NAME = re.compile(r"`([\w.]+)`")
METHOD = re.compile(r"`([A-Z]\w+\.\w+)`")


@cache
def files() -> list[str]:
    found = [*ROOT.glob("*.*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*"))]
    return sorted(f"/{path.relative_to(ROOT)}" for path in found)


@cache
def called(name: str) -> list[Path]:
    """Returns the files of this name. ``name`` can also contain the folders directly above the file."""
    return [ROOT / path[1:] for path in files() if path.endswith(f"/{name}")]


@cache
def defined(path: Path) -> frozenset[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return frozenset(re.findall(r"^create or replace (?:function|view) ([\w.]+)", text, re.MULTILINE))
    return frozenset(_defined(ast.parse(text).body))


def _defined(body: list[ast.stmt], within: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield within + node.name
        if isinstance(node, ast.ClassDef):
            yield from _defined(node.body, f"{within}{node.name}.")


def beside(page: Path) -> list[tuple[str, str]]:
    """Returns each file with each name that is mentioned right after it."""
    text = " ".join(page.read_text(encoding="utf-8").split())
    return [(file, name) for file, names in BESIDE.findall(text) for name in NAME.findall(names)]


def steps(tour: Path) -> list[str]:
    return re.findall(r"^(\d+\. .+(?:\n .+)*)", tour.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_every_file_that_a_page_mentions_exists(page):
    assert [name for name in FILE.findall(page.read_text(encoding="utf-8")) if not called(name)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT / "docs")))
def test_each_function_is_defined_in_the_file_that_is_mentioned_before_it(page):
    missing = [
        f"{file}: {name}"
        for file, name in beside(page)
        if not any(name in defined(path) for path in called(file))
    ]
    assert missing == []


@pytest.mark.parametrize("tour", TOURS, ids=lambda tour: tour.stem)
def test_a_tour_is_numbered_and_each_step_begins_with_a_file_of_the_package(tour):
    found = steps(tour)
    assert [int(step.split(".", maxsplit=1)[0]) for step in found] == list(range(1, len(found) + 1))
    for step in found:
        assert re.match(r"\d+\. `[\w/]+/\w+\.(py|sql)`", step), step
        for file in [file for file, _ in BESIDE.findall(" ".join(step.split()))]:
            assert (ROOT / "pgqueue" / file).is_file(), f"{file} is no path from pgqueue/"


@pytest.mark.parametrize("tour", TOURS, ids=lambda tour: tour.stem)
def test_each_method_in_a_step_of_a_tour_is_defined_in_a_file_of_that_step(tour):
    for step in steps(tour):
        there = {name for file in FILE.findall(step) for path in called(file) for name in defined(path)}
        assert set(METHOD.findall(step)) <= there, step


@pytest.mark.parametrize("tour", TOURS, ids=lambda tour: tour.stem)
def test_a_tour_has_at_most_250_lines(tour):
    assert tour.read_text(encoding="utf-8").count("\n") <= 250
