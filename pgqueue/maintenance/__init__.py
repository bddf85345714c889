"""What one elected worker does for all: rescue, schedules, partitions, retention."""
