"""Tests of docs/errors.md, and of the tree of errors from which this page is made."""

from __future__ import annotations

import ast
import inspect

from docs.errors import FIRST_STEP, PAGE, entries, page
from pgqueue import errors
from tests.package import MODULES


def test_the_page_is_equal_to_the_output_of_its_generator() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m docs.errors"


def test_the_tree_contains_every_error_below_its_base_class_with_its_code() -> None:
    classes = {
        kind for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.PgQueueError) and kind is not errors.PgQueueError
    }  # fmt: skip
    tree = list(entries())
    assert {entry.kind for entry in tree} == classes
    assert len(tree) == len(classes), "each error occurs once in the tree"
    above: list[type[errors.PgQueueError]] = [errors.PgQueueError]
    for entry in tree:
        assert entry.kind.__bases__ == (above[entry.depth - 1],), entry.name
        assert entry.kind.code == (entry.code or errors.PgQueueError.code), entry.name
        assert entry.phrase, entry.name
        above[entry.depth :] = [entry.kind]


def test_every_error_with_a_code_has_a_first_step_on_the_page() -> None:
    assert set(FIRST_STEP) == {entry.name for entry in entries() if entry.code}


def test_what_does_not_exist_is_always_named_by_an_error_with_its_own_code() -> None:
    bare = [
        f"{module}:{node.lineno}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "NotFoundError"
    ]
    assert bare == []
    assert {kind.code for kind in errors.NotFoundError.__subclasses__()}.isdisjoint(
        {errors.PgQueueError.code}
    )
