"""Finds work for a worker, and takes it."""
