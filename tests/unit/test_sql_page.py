"""``docs/rules/sql.md`` agrees with the functions and views of the schema, with their parameters, and with the grants to roles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgqueue import sql
from pgqueue.model.options import RULES
from tests.unit.test_features import ROOT

PAGE = (ROOT / "docs/rules/sql.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| `pgqueue\.(?P<name>\w+)\((?P<parameters>.*?)\)` \|.*\| (?P<roles>[a-z, ]+) \|$", re.MULTILINE
)
ROWS = {match["name"]: match for match in ROW.finditer(PAGE)}
GRANTS = Path(sql.__file__).parent / "grants"
PARTS = ("jobs", "alerts")
ONLY_FOR_OTHER_FUNCTIONS = {
    "text_of",
    "time_of",
    "time_in_words",
    "with_noun",
    "recent_events",
    "declared_secrets",
    "contains_secret",
}


def granted(kind: str) -> str:
    """Returns what ``pgq db grants`` prints for this kind of role, without the lines in comments."""
    return sql.COMMENT.sub("", (GRANTS / f"{kind}.sql").read_text(encoding="utf-8"))


def may_call(kind: str, name: str) -> bool:
    text = granted(kind)
    if "execute on all functions" in text:
        revoked = "".join(re.findall(r"revoke execute on function(.*?) from", text, re.DOTALL))
        return f"pgqueue.{name}" not in re.findall(r"pgqueue\.\w+", revoked)
    return f"pgqueue.{name}" in re.findall(
        r"pgqueue\.\w+", "".join(re.findall(r"grant execute on function(.*?) to", text, re.DOTALL))
    )


def parameters(name: str) -> list[str]:
    declared = re.search(rf"function pgqueue\.{name}\((.*?)\)\n", sql.functions()[name], re.DOTALL)
    assert declared is not None
    words = [part.split() for part in declared[1].split(",")]
    return [word[0] for word in words if word and word[0] != "out"]


@pytest.mark.parametrize("name", ROWS)
def test_the_page_gives_the_parameters_of_a_function_and_the_roles_that_may_call_it(name):
    assert ROWS[name]["parameters"].split(", ") == parameters(name)
    kinds = [kind for kind in ("enqueuer", "reader", "operator") if may_call(kind, name)]
    assert ROWS[name]["roles"].split(", ") == kinds


def test_the_page_lists_each_function_of_the_parts_that_people_use():
    here = Path(sql.__file__).parent
    found = {path.stem for part in PARTS for path in (here / part / "functions").glob("*.sql")}
    assert found - ONLY_FOR_OTHER_FUNCTIONS <= ROWS.keys()


def test_the_page_lists_all_options_of_a_job():
    section = PAGE.split("## Options of a job")[1].split("## ")[0]
    listed = {
        name
        for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", cell)
    }
    assert listed == {*RULES, "trace_context"}


def test_the_page_lists_all_views():
    section = PAGE.split("## Views")[1]
    assert sorted(re.findall(r"^\| `pgqueue\.(\w+)` \|", section, re.MULTILINE)) == sorted(sql.views())
