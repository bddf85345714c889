"""What pgqueue tells of itself: facts, log lines that are made of facts, and spans beside them.

All code that emits facts imports this package, also ``database`` and the retry policies of ``model``. So a fact holds plain values, ids
and texts, and knows no class of the emitting code.
"""
