"""Alerts: what is watched, and where messages go."""
