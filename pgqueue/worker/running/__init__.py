"""How the handler of an attempt is called, and what comes of the call."""
