"""The tests of the suites that pgqueue's backend does not pass as they are, with the reasons. README.md shows the same table."""

from __future__ import annotations

RESULTS = "says that a backend has no results, and pgqueue has them"
DEFER = "says that a backend cannot defer, and pgqueue can"
INTERRUPT = "needs a task to run inside enqueue(), in the process of the test, so that its KeyboardInterrupt arrives there"
IN_LOOP = "calls a sync method in an event loop, where Django refuses to use a connection; the async method passes its tests"
IN_MEMORY = "changes a result in the memory of the backend, and pgqueue's results are in the database"
COMMITS = "expects a task that was enqueued in an open transaction to run before the commit; pgqueue's tasks exist from the commit on"

# The name of a test, without its module: the reason.
EXCEPTIONS = {
    "ImmediateBackendTestCase.test_cannot_get_result": RESULTS,
    "ImmediateBackendTestCase.test_cannot_refresh_result": RESULTS,
    "ImmediateBackendTestCase.test_get_result_from_different_request": RESULTS,
    "ImmediateBackendTestCase.test_cannot_pass_run_after": DEFER,
    "DummyBackendTestCase.test_get_missing_result": IN_LOOP,
    "TaskTestCase.test_get_missing_result": IN_LOOP,
    "TaskTestCase.test_refresh_result": IN_LOOP,
    "DummyBackendTestCase.test_refresh_result": IN_MEMORY,
    "DummyBackendTestCase.test_refresh_result_async": IN_MEMORY,
    "ImmediateBackendTestCase.test_throws_keyboard_interrupt": INTERRUPT,
    "ImmediateBackendTransactionTestCase.test_doesnt_wait_until_transaction_commit_by_default": COMMITS,
}
