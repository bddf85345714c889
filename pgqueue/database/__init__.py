"""Runs the statements of ``sql/``: the connections, the statements as Python values, and the meaning of the server's errors."""
