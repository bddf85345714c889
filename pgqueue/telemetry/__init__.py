"""What pgqueue tells of itself: spans, and where its log lines go."""
