"""What pgqueue tells of itself: facts, log lines that are made of facts, and spans beside them.

This package lies below all code that emits facts, also below the database and the retry policies of the model. So a fact holds plain
values, ids and texts, and knows no class of the emitting code.
"""
