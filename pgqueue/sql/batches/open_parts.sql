-- Takes ids for members of a batch that are about to be copied in, and stores their nodes. functions/open_parts.sql says what it locks and
-- raises. The statement runs in transactions of users.
-- Returns one row: the ids as the text of an array; the concurrency key of the members (null: none); the time; the id of the transaction,
-- with which find_copied.sql can later find out whether the transaction was committed.
select o.ids::text, o.key, o.moment, pg_catalog.pg_current_xact_id()::text
from pgqueue.open_parts(%(batch)s::bigint, %(count)s::int, %(member)s::bigint) o
