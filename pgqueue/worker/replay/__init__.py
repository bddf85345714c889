"""Replays a job: calls its handler in this process, with connections that are never committed, and reports what the handler did."""
