"""The catalogue of mutants keeps in step with the code; ``python -m tests.mutants`` runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_an_edit_fits_and_its_tests_are_there(mutant: Mutant) -> None:
    """A change of a line that a mutant edits must change the mutant too."""
    assert mutant.fits(ROOT), "each old text stands in the file, once"
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert re.search(
            rf"^(async )?def {name.partition('[')[0]}", (ROOT / file).read_text(), re.MULTILINE
        ), test


def test_no_mutant_is_there_twice() -> None:
    assert len({(mutant.file, mutant.edits) for mutant in MUTANTS}) == len(MUTANTS)
