"""docs/glossary.md has one word for each thing. No name in the package contains a word that the glossary refuses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import typer

from pgqueue import schema, sql
from pgqueue.ui.cli.commands import root
from tests.package import MODULES, PACKAGE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
CTE = re.compile(r"(?:\bwith(?: recursive)?|,)\s+(\w+)(?: *\([\w, ]+\))? as (?:not )?(?:materialized )?\(")
ALIAS = re.compile(r"\bas (\w+)\b")
LOCALS = re.compile(r"^declare\n(.*?)^begin$", re.MULTILINE | re.DOTALL)
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


class Name(NamedTuple):
    """A name, and the place where it is defined."""

    name: str
    where: str

    def words(self) -> tuple[str, ...]:
        return split(self.name)


@cache
def split(name: str) -> tuple[str, ...]:
    """Returns the words of a name in the singular, so that ``LostClaims`` and ``lost_claim`` have the same words."""
    return tuple(singular(word.lower()) for word in WORD.findall(name))


def singular(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 and not word.endswith(("ss", "us", "is")) else word


def holds(words: tuple[str, ...], refused: tuple[str, ...]) -> bool:
    """Returns whether the refused words occur side by side in a name."""
    return any(words[at : at + len(refused)] == refused for at in range(len(words) - len(refused) + 1))


# ---------------------------------------------------------------- the page


def rows(head: str) -> Iterator[list[str]]:
    """Yields the rows of all tables that have this head."""
    for table in re.findall(rf"^\| {re.escape(head)} \|\n\|[-| ]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        for line in table.splitlines():
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


WORDS = list(rows("word | meaning | where it shows | not"))
EXCEPTIONS = {name.strip("`"): why for name, why in rows("name | why it is allowed")}
REFUSED = {split(word): row[0] for row in WORDS for word in re.findall(r"`([^`]+)`", row[3])}


# ---------------------------------------------------------------- the names


def names_of_files() -> Iterator[Name]:
    for path in PACKAGE.rglob("*"):
        if path.suffix in {".py", ".sql"} or (path.is_dir() and path.name != "__pycache__"):
            yield Name(path.stem, path.relative_to(PACKAGE).as_posix())


def names_of_python(tree: ast.AST, where: str) -> Iterator[Name]:
    """Yields the names of classes, functions and parameters, and the names that a module or a class assigns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield Name(node.name, where)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (Name(argument.arg, where) for argument in node.args.args + node.args.kwonlyargs)
        if isinstance(node, ast.Module | ast.ClassDef):
            for line in node.body:
                targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
                yield from (Name(target.id, where) for target in targets if isinstance(target, ast.Name))


def names_of_the_database() -> Iterator[Name]:
    for table in schema.metadata.tables.values():
        yield Name(table.name, "pgqueue.schema")
        named = (*table.columns, *table.indexes, *table.constraints)
        yield from (Name(str(part.name), f"table {table.name}") for part in named if part.name)
    yield from (Name(domain, "domain") for domain in schema.DOMAINS)
    for name, text in {**sql.functions(), **sql.views()}.items():
        made = re.search(r"^create or replace (?:function|view) pgqueue\.(\w+)", text, re.MULTILINE)
        assert made, name
        yield Name(made[1], f"{name}.sql")
    for name in sql.names():
        yield from (
            Name(parameter, f"{name}.sql") for parameter in re.findall(r"%\((\w+)\)s", sql.load(name))
        )


def names_inside_sql() -> Iterator[Name]:
    """Yields the names of CTEs, aliases and variables."""
    statements = {
        name: sql.load(name) for name in sql.names()
    }  # some have the name of the function that they call
    for name, text in chain(sql.functions().items(), sql.views().items(), statements.items()):
        code = re.sub(r"--.*", "", text)
        found = [*CTE.findall(code), *ALIAS.findall(code)]
        for block in LOCALS.findall(code):
            found += re.findall(r"^ +(\w+) ", block, re.MULTILINE)
        yield from (Name(one, f"inside {name}.sql") for one in found)


def names_of_commands() -> Iterator[Name]:
    def walk(command: click.Command, where: str) -> Iterator[Name]:
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                yield Name(option.lstrip("-").replace("-", "_"), where)
        for name, child in getattr(command, "commands", {}).items():
            yield Name(name, where)
            yield from walk(child, f"{where} {name}")

    yield from walk(typer.main.get_command(root()), "pgq")


@cache
def all_names() -> list[Name]:
    return list(read_names())


@cache
def all_texts() -> frozenset[str]:
    return frozenset(name.name for name in all_names())


def read_names() -> Iterator[Name]:
    yield from names_of_files()
    for where, tree in MODULES.items():
        yield from names_of_python(tree, where)
    yield from names_of_the_database()
    yield from names_inside_sql()
    yield from names_of_commands()


def offenders(names: Iterable[Name]) -> list[str]:
    return sorted(
        {
            f"{name.name} ({name.where}): {' '.join(refused)!r} is refused for {REFUSED[refused]}"
            for name in names
            if name.name not in EXCEPTIONS
            for words in [name.words()]
            for refused in REFUSED
            if refused[0] in words and holds(words, refused)
        }
    )


# ---------------------------------------------------------------- the tests


def test_no_name_contains_a_refused_word():
    assert offenders(all_names()) == []


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("bulk_rows", "bulk"),
        ("BulkRows", "bulk"),
        ("LARGEST_BULK", "bulk"),
        ("HeldClaims", "held"),
        ("sweeps", "sweep"),
        ("scheduled_at", "scheduled at"),
        ("HTTPTopic", "topic"),
    ],
)
def test_a_refused_word_is_found_in_an_invented_name(name, word):
    [found] = offenders([Name(name, "planted.py")])
    assert found == f"{name} (planted.py): {word!r} is refused for {REFUSED[split(word)]}"


def test_a_longer_word_that_contains_a_refused_word_is_allowed():
    assert (
        offenders(
            [Name(name, "planted.py") for name in ("replace_job", "threshold", "Scheduled", "heldover")]
        )
        == []
    )


def test_a_refused_word_is_found_in_every_kind_of_python_name():
    planted = """
BULK = 1

class Consumer:
    quota: int

    async def reap(self, topic, *, eta=None): ...
"""
    found = names_of_python(ast.parse(planted), "planted.py")
    assert {line.split()[0] for line in offenders(found)} == {
        "BULK",
        "Consumer",
        "quota",
        "reap",
        "topic",
        "eta",
    }


def test_every_kind_of_name_is_read():
    assert all_texts() >= {
        "claiming",  # a folder
        "payload",  # a file of Python
        "insert_job",  # a file of SQL
        "Settler",
        "LeaseLostError",
        "rescue_all",
        "FILE_KEYS",
        "worker_id",  # a parameter
        "why",  # a SQL function
        "queue_depth",  # a view
        "transitions",  # a table
        "concurrency_key",  # a column
        "jobs_live_claim_idx",
        "jobs_live_shape_check",
        "job_args",  # a domain
        "since_ids",  # a parameter of a statement
        "with_seats",  # a CTE
        "leads",  # an alias
        "moment",  # a variable of a function
        "doctor",  # a command
        "crash_limit",  # an option
    }


def test_the_page_lists_each_word_once_and_refuses_no_listed_word():
    words = [row[0] for row in WORDS]
    assert len(words) == len(set(words)) > 60
    assert all(len(row) == 4 and all(row) for row in WORDS)
    assert not {split(word) for word in words} & set(REFUSED)


def test_each_exception_is_needed():
    for name in EXCEPTIONS:
        assert name in all_texts(), name
        assert any(holds(split(name), refused) for refused in REFUSED), name


SHOWN = [
    (row[0], span)
    for row in WORDS
    for span in re.findall(r"`([^`]+)`", row[2])
    if row[0] != "a name of its own"
]


@pytest.mark.parametrize(("word", "span"), SHOWN)
def test_every_name_in_the_column_where_it_shows_exists_in_the_code(word, span):
    """All words of a command must exist as names, and so must both parts of ``table.column``."""
    parts = [
        part.lstrip("-").replace("-", "_")
        for part in re.split(r"[ .]", span.removeprefix("pgq ").removeprefix("pgqueue."))
    ]
    assert set(parts) <= all_texts(), word
