"""A Postgres and a shop of one's own, to try things."""
