-- Lists the tables that this transaction has written, with some of the rows (functions/list_writes.sql). Locks nothing.
-- The statement runs in transactions of users, under their search path. So it qualifies the server's functions.
-- Zero rows: the transaction has written nothing.
select w.schema_name, w.table_name, w.inserted, w.updated, w.deleted, w.lines::pg_catalog.text, w.note
from pgqueue.list_writes(%(most_bytes)s::bigint, %(most_rows)s::int) w
