"""Measures what the user's own server and this machine can carry, with jobs of their own that are removed afterwards."""
