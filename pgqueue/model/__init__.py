"""What a job is and what may be said of it: values and rules. Pure."""
