"""The exit codes of a worker process."""

STOPPED, FAILED, UNFINISHED, BLOCKED = 0, 1, 12, 13
