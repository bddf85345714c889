"""Running what ``sql/`` holds: connections, statements as values, and what an error of the server means."""
