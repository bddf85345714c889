"""The interfaces for people: the command line."""
