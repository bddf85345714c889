"""``pgq top``: the pages of ``pgqueue.ui.reading`` in a terminal, live. Only this folder imports textual (extra ``tui``)."""

from __future__ import annotations

from pgqueue.errors import PackageMissingError

try:
    import textual as textual
except ImportError as error:
    raise PackageMissingError(
        "The terminal dashboard needs one more package.",
        why=f"the package textual is not installed ({error})",
        do="pip install 'pgqueue-jobs[tui]'",
    ) from None
