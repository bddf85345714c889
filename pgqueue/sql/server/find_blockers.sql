-- Finds transactions for which an enqueue, an edit or a cancel can have waited until its time limit: they began at least %(seconds)s
-- seconds ago, and have written to jobs or keys, or have locked them. The oldest transaction comes first.
-- Returns what list_lockers.sql returns. Locks nothing. Zero rows: there is no such transaction now.
select l.pid, coalesce(a.usename::text, 'unknown'), coalesce(a.application_name, ''), coalesce(a.state, ''),
       extract(epoch from clock_timestamp() - min(a.xact_start))::float8, min(c.relname::text)
from pg_catalog.pg_locks l
join pg_catalog.pg_class c on c.oid = l.relation and c.relname in ('jobs_live', 'jobs_dead', 'idempotency_keys')
join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = 'pgqueue'
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.granted and l.mode <> 'AccessShareLock' and l.pid is distinct from pg_backend_pid()
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
  and coalesce(a.xact_start <= clock_timestamp() - make_interval(secs => %(seconds)s::float8), true)
group by l.pid, l.virtualtransaction, a.usename, a.application_name, a.state
order by min(a.xact_start) nulls last
limit 3
