"""Workers as processes: the supervisor of many, and processes that we start."""
