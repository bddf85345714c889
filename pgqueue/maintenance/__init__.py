"""What one elected worker does for all: rescue, partitions, retention."""
