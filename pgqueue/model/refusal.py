"""Why an action on a job, or an undo, changed nothing, in words for people. The database and programs use the short words."""

from __future__ import annotations

from collections.abc import Mapping

REFUSED = "refused"  # the database refused the change of this job; behind a colon stands its error
ELSEWHERE = "undone by another person"
# The words of act(), of undo() and of the functions that they call (sql/actions/functions). Every other word is the state of the job.
SENTENCES: Mapping[str, str] = {
    "not found": "there is no such job: its transaction has not committed or was rolled back, or it was deleted",
    "locked": "another transaction has locked it; try again",
    "alone": "other nodes of its workflow change with it",
    "unique_key": "an unfinished job has its unique key",
    "idempotency_key": "another job has its idempotency key",
    "node": "it is a node of a workflow, and others count on it",
    "children": "it waits for its children; cancel it first",
    "moved on": "it has moved on",
    ELSEWHERE: "another person has undone it",
    REFUSED: "the database refused it",
}


def why_refused(word: str) -> str:
    """Returns the reason for which a job was not changed, to stand behind a colon: ``it is running``."""
    if word.startswith(f"{REFUSED}: "):
        return word.removeprefix(f"{REFUSED}: ")
    return SENTENCES.get(word) or f"it is {word}"


def reasons(refused: Mapping[str, int]) -> str:
    """Returns how many jobs were not changed, by the reason: ``2 (it is running), 1 (it has moved on)``."""
    return ", ".join(f"{number:,} ({why_refused(word)})" for word, number in sorted(refused.items()))
