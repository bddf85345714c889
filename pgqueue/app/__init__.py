"""The part of pgqueue that a program imports: the app, its tasks, enqueuing, handles, the schedules of its code."""
