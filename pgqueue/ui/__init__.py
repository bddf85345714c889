"""The interface for people: the command line."""
