"""What one elected worker does for all workers: rescue, schedules, partitions, retention."""
