"""The catalogue of mutants (planted bugs that the tests must find) agrees with the code. ``python -m tests.mutants`` runs the mutants."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_edits_of_a_mutant_fit_the_code_and_its_tests_exist(mutant: Mutant) -> None:
    """If you change a line that a mutant edits, change the mutant, too."""
    assert mutant.fits(ROOT), "each text that the mutant replaces must occur in the file exactly once"
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert re.search(
            rf"^(async )?def {name.partition('[')[0]}", (ROOT / file).read_text(), re.MULTILINE
        ), test


def test_no_two_mutants_are_equal() -> None:
    assert len({(mutant.file, mutant.edits) for mutant in MUTANTS}) == len(MUTANTS)
