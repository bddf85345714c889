"""A text that would control a terminal or forge a line of a log, and a text that must be shown unchanged."""

from __future__ import annotations

import unicodedata

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b1m\u202e\u2066\u200b\u2060\ufeff\u2028\r\n2026-11-29 CRITICAL forged \ud800\U000e0041"
KEPT = "Grüße, 日本, \u00a0é, 👍🏽 \\ 'x'"


def acts(text: str, allowed: str = "\t") -> bool:
    """Returns whether the text contains a control, invisible or line-breaking character that is not in ``allowed``."""
    return any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c not in allowed for c in text)
