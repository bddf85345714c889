"""What schemathesis must know besides the OpenAPI document: which times jobs can have."""

from __future__ import annotations

import gc
from datetime import UTC, datetime

import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format(
    "date-time",
    st.datetimes(datetime(2000, 1, 2), datetime(2999, 12, 30), timezones=st.just(UTC)).map(  # noqa: DTZ001 - st adds the zone
        lambda at: at.isoformat().replace("+00:00", "Z")
    ),
)

# CPython 3.11 cannot begin a second parse of source code inside a first one, as a finalizer that the collector calls can do.
gc.disable()
