"""Makes text and values of users safe to show in a message, a log and a terminal."""
