"""Where there is work for a worker, and taking it."""
