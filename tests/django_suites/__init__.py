"""Runs the tests of task backends that Django and django-tasks have, with pgqueue's backend in the place of theirs."""
