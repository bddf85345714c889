"""How pgqueue reports what it does: facts, log lines that are made from facts, and spans.

All code that emits facts imports this package, also ``database`` and the retry policies of ``model``. So this package must not import that
code, and a fact has only plain values, such as ids and texts.

No fact can be emitted and no line written before the import of this package. So this module prepares the logger and subscribes the lines.
"""

from pgqueue.telemetry import log, log_output

log_output.begin()
log.begin()
