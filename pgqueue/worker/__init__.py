"""The worker: its claimer, runner and settler, its lease and its processes."""
