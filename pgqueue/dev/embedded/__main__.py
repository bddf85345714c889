"""Runs the supervisor of a shared server. ``acquire`` starts this program; people do not."""

import sys

from pgqueue.dev.embedded.sharing import supervise

supervise(*sys.argv[1:])
