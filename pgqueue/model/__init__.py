"""The values and rules of jobs, tasks and schedules. This package does no I/O."""
