-- Removes a limit: the jobs that it held back may run at once. Locks its row. Zero rows: there is no such limit.
delete from pgqueue.limits l where l.id = %(limit_id)s::int returning l.id
