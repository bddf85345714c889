"""Who sends an HTTP request, and what this caller may do. The HTTP API and the web page share this code.

``access.py`` is the entrance: ``who = await access.admit(scope)``, with the scope of any ASGI server. No module here needs a web framework.
"""

from pgqueue.ui.access.access import Access
from pgqueue.ui.access.tokens import TokenFile
from pgqueue.ui.access.who import Role, Who

__all__ = ["Access", "Role", "TokenFile", "Who"]
