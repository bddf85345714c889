-- Removes a limit. The jobs that it held back can then run immediately. Locks the limit's row. Zero rows: there is no such limit.
delete from pgqueue.limits l where l.id = %(limit_id)s::int returning l.id
