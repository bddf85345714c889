-- Finds transactions that have written to jobs_live and are still open. When they commit, the jobs that they enqueued will appear behind
-- the cursors of claims.
-- Returns the virtual id of each transaction, when it began (null if this role is not allowed to see that), and the time now. Both times
-- are in epoch seconds.
-- Locks nothing. Zero rows: no open transaction has written.
select l.virtualtransaction, date_part('epoch', a.xact_start), date_part('epoch', clock_timestamp())
from pg_catalog.pg_locks l
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.granted
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
  and l.relation = 'pgqueue.jobs_live'::regclass and l.pid is distinct from pg_backend_pid()
