"""Makes text and values that users supply fit for a message, a log and a terminal."""
