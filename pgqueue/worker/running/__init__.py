"""One attempt after the other: in which way a handler is called, and what comes of it."""
