"""Workers as processes: a supervisor, and the workers that it starts."""
