"""The web page: all that the read model says, as HTML, JSON or text, and what people can do with it.

::

    from pgqueue.ui.web import create

    app = create()                       # an ASGI app; or app.mount("/jobs", create()) in another one
"""

from pgqueue.ui.web.app import create

__all__ = ["create"]
