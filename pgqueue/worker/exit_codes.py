"""What the exit code of a worker process says to whoever started it."""

STOPPED, FAILED, UNFINISHED, BLOCKED = 0, 1, 12, 13
