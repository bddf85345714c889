"""The leader is one elected worker. It does this work for all workers: rescue, schedules, alerts, day tables and retention."""
