"""The supervisor of ``pgq work --processes``, and its connections to the worker processes that it starts."""
