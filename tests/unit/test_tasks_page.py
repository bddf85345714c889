"""``docs/rules/tasks.md`` lists the options of ``@app.task`` with their defaults. Errors about unknown options say what to write."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from pgqueue import App, RetryPolicy
from pgqueue.app.app import OPTIONS
from pgqueue.errors import InvalidOptionError
from pgqueue.model.retry import DEFAULT_DELAYS, DEFAULT_MAX_ATTEMPTS

PAGE = (Path(__file__).parents[2] / "docs/rules/tasks.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z]\w+)` \| (.+?) \| .+ \|$", re.MULTILINE)


def test_the_page_lists_exactly_the_options_of_a_task():
    assert sorted(name for name, _ in ROW.findall(PAGE)) == sorted(OPTIONS)


def test_the_page_gives_the_default_of_each_option_that_has_one():
    declared = inspect.signature(App.task).parameters
    shown = {name: default.strip("`") for name, default in ROW.findall(PAGE)}
    for name, parameter in declared.items():
        if name in shown and parameter.default is not None:
            assert shown[name] == repr(parameter.default).replace("'", '"'), name


def test_the_signature_of_task_has_each_option_that_is_not_about_duplicates_or_hooks():
    rest = {name for name in OPTIONS if not name.startswith("on_")}
    assert inspect.signature(App.task).parameters.keys() - {"self", "function", "more"} <= rest


def test_the_page_shows_the_default_number_of_attempts_and_the_default_delays():
    assert f"| {DEFAULT_MAX_ATTEMPTS} | 1 s, 5 s, 30 s, 5 min, 30 min |" in PAGE
    assert DEFAULT_DELAYS == (1, 5, 30, 300, 1800)
    for value in (False, 1, 3, [1, 5, 30]):
        assert re.search(
            rf"^\| [^|]*`{re.escape(repr(value))}`[^|]* \| {RetryPolicy.of(value).max_attempts}:",
            PAGE,
            re.MULTILINE,
        ), value


@pytest.mark.parametrize(
    ("option", "do"),
    [
        ("max_attempts", "retry=8"),
        ("permanent", "retry=RetryPolicy(permanent=(ValueError,))"),
        ("retries", "retry=4"),
        ("delay", "task.using(delay=…)"),
        ("time_out", "timeout"),
    ],
)
def test_the_error_of_an_unknown_option_says_what_to_write(option, do):
    with pytest.raises(InvalidOptionError, match=option) as caught:
        App("").task(**{option: 1})(test_the_page_lists_exactly_the_options_of_a_task)
    assert do in caught.value.do
