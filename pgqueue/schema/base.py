"""What the declarations of all tables share: types, domains, a function that makes columns, and a function that makes partitions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    Integer,
    Interval,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine, UserDefinedType

metadata = MetaData(schema="pgqueue")

Moment = DateTime(timezone=True)
Word = Text(collation="C")


class Transaction(UserDefinedType[str]):
    """The number of a transaction, as text of digits: xid8, which SQLAlchemy does not know."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


NAME = "value ~ '^[A-Za-z_][A-Za-z0-9_.:-]*$' and octet_length(value) <= {}"
OBJECT = "jsonb_typeof(value) = 'object'"
LENGTH = "octet_length(value #>> '{}')"
SMALL = "pg_column_size(value) <= 240 and pg_column_compression(value) is null"


# The base type and the check of each domain. The database checks every value that is written.
DOMAINS: dict[str, tuple[TypeEngine[Any], str]] = {
    "queue_name": (Word, NAME.format(63)),
    "task_name": (Word, NAME.format(127)),
    "job_key": (Word, "octet_length(value) between 1 and 255"),
    "job_args": (JSONB(), f"{OBJECT} and ({SMALL} or {LENGTH} <= 2097152)"),
    "job_meta": (JSONB(), f"{OBJECT} and ({SMALL} or {LENGTH} <= 524288)"),
    "job_tags": (
        ARRAY(Text),
        "cardinality(value) <= 32 and array_position(value, null) is null and pg_column_size(value) <= 4096",
    ),
    "job_time": (Moment, "value >= '2000-01-01 00:00+00' and value < '3000-01-01 00:00+00'"),
    "job_timeout": (Interval(), "value > interval '0' and value <= interval '365 days'"),
    "job_bound": (Moment, "value >= '2000-01-01 00:00+00' and value < '3000-01-01 00:00+00'"),
    "attempts": (SmallInteger(), "value between 1 and 10000"),
    "job_weight": (Integer(), "value between 1 and 1000000000"),
    "job_count": (SmallInteger(), "value between 0 and 20000"),
    "job_lease": (BigInteger(), "value between 0 and 4611686018427387904"),
    "job_note": (JSONB(), f"{LENGTH} <= 2097152"),
    "job_order": (Word, "value in ('block', 'skip')"),
}


def column(name: str, domain: str, default: str | None = None, *, nullable: bool = False) -> Column[Any]:
    # The column has the domain's base type, because users' queries need operators, and SQLAlchemy's DOMAIN type has no operators.
    column_default = None if default is None else text(default)
    return Column(
        name, DOMAINS[domain][0], nullable=nullable, server_default=column_default, info={"domain": domain}
    )


def partition(name: str, of: Table, bound: str, partition_by: str | None = None) -> Table:
    table = of.to_metadata(metadata, name=name)
    table.dialect_options["postgresql"]["partition_by"] = partition_by
    table.info.update(partition_of=of.name, bound=bound)
    return table
