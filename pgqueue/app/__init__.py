"""What a program uses: it declares tasks and schedules, enqueues jobs, and reads or changes jobs by their handles."""
