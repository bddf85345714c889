"""Text from elsewhere, made fit for a message, a log and a terminal."""
