"""Finds due jobs for a worker, and claims them."""
