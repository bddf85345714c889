"""The names in ``tests.matrix``: of extras, tools and tests, which have to exist elsewhere, and the answers to wrong words."""

from __future__ import annotations

import pytest

from tests import matrix

EXTRAS = matrix._declared("optional-dependencies")


def test_each_extra_and_each_tool_is_declared_and_each_test_of_the_samples_exists():
    assert set(matrix.EXTRAS) <= set(EXTRAS)
    assert len(matrix._tools()) == len(matrix.TOOLS)
    assert [path for path in (*matrix.SAMPLE, *matrix.CORE_SAMPLE) if not (matrix.ROOT / path).exists()] == []


def test_the_lowest_versions_cover_each_extra_that_users_install():
    for_us = {"dev", "bench", "docs", "all", "pytest", "embedded", "starlette"}
    assert set(EXTRAS) - for_us == set(matrix.EXTRAS)


def test_only_what_pyproject_asks_for_is_pinned_to_its_lowest_version(tmp_path):
    pins = tmp_path / "pins.txt"
    pins.write_text("psycopg==3.2.13\nstarlette==1.0.0\nsome-other==2\n")
    assert list(matrix._direct(pins)) == ["psycopg==3.2.13", "starlette==1.0.0"]


@pytest.mark.parametrize("word", ["3.10", "14", "newest"])
def test_a_version_that_is_not_in_the_matrix_is_refused_with_those_that_are(word, capsys):
    assert matrix.main([word]) == 2
    assert "3.11, 3.12" in capsys.readouterr().err


def test_a_cell_that_cannot_be_had_says_why_and_is_no_failure(monkeypatch, capsys):
    monkeypatch.setattr(matrix, "_python", lambda _: None)
    assert matrix.main(["3.12", "17"]) == 2
    assert "cannot be had here: Python 3.12 is not on the PATH" in capsys.readouterr().out
