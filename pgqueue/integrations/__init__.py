"""Connects pgqueue to other libraries. Each module imports its library, and no other module of pgqueue imports it."""
