-- Transactions that have written to jobs_live and are still open: what they enqueued will appear behind the cursors of claims.
-- Returns for each what names it, and in epoch seconds its beginning (null if this role may not know) and the time now.
-- Locks nothing. Zero rows: none writes.
select l.virtualtransaction, date_part('epoch', a.xact_start), date_part('epoch', clock_timestamp())
from pg_catalog.pg_locks l
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.mode = 'RowExclusiveLock' and l.granted
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
  and l.relation = 'pgqueue.jobs_live'::regclass and l.pid is distinct from pg_backend_pid()
