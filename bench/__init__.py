"""How fast, and against what: one question per file, all of them asked by ``python -m bench``."""
