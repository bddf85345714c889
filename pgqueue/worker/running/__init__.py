"""Calls the handlers of attempts, and decides the outcomes of the attempts."""
