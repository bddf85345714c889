"""The work that the leader, one elected worker, does for all workers: rescue, schedules, alerts, day tables and retention."""
