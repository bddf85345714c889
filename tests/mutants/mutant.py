"""A mutant: a small fault, with tests of which at least one must fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A fault in ``file``. Each of ``edits`` is a pair of texts (old, new): the file contains the old text exactly once, and gets the new
    text.

    After these edits, at least one of ``tests`` must fail.
    """

    file: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        (gone, come), *_ = [[" ".join(text.split()) for text in edit] for edit in self.edits]
        return f"{self.file}: {gone[:70]} -> {come[:70] or 'nothing'}"

    @property
    def changes_schema(self) -> bool:
        """Returns whether an edit changes the schema. If so, the databases of the tests must be made by the edited project."""
        return "/functions/" in self.file or "/views/" in self.file or "migrat" in self.file

    def fits(self, root: Path) -> bool:
        path = root / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return all(text.count(old) == 1 for old, _ in self.edits)

    def apply(self, root: Path) -> None:
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        for old, new in self.edits:
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")


def mutant(file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(f"pgqueue/{file}", ((old, new),), tuple(f"tests/{test}" for test in tests))
