"""What pgqueue needs of Python itself: a clock, loops and their tasks, threads, forks. It knows nothing of jobs."""
