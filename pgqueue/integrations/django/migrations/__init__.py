"""Django's migrations of pgqueue's schema: one for each release that changes the schema."""
