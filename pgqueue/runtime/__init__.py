"""Parts that have to do with Python itself, not with jobs: the clock, event loops and their tasks, threads and forks."""
