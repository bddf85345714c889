"""Benchmarks. Each question about the speed or the cost of pgqueue has a module here; ``python -m bench`` asks all questions."""
