"""The supervisor of a shared server: started by ``acquire``, not by hand."""

import sys

from pgqueue.dev.embedded.sharing import supervise

supervise(*sys.argv[1:])
