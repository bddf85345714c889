"""Benchmarks: each file asks one question about the speed or the cost of pgqueue. ``python -m bench`` asks all of them."""
