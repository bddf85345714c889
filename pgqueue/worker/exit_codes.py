"""The exit codes of a worker process: it was stopped, it failed, it stopped while jobs still ran, or a handler blocked its loop."""

STOPPED, FAILED, UNFINISHED, BLOCKED = 0, 1, 12, 13
