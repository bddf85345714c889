"""The exit codes of a worker process, for the program that started it."""

STOPPED, FAILED, UNFINISHED, BLOCKED = 0, 1, 12, 13
