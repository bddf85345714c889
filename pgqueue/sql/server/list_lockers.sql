-- Finds transactions that have locked tables of pgqueue, or are creating them, the oldest first. It is for `pgq migrate`, when it could not
-- get a lock.
-- Returns the pid (null: a prepared transaction); the role, program and state of the session; the seconds since its transaction began (null
-- if this role is not allowed to see that); and the name of one such table. Locks nothing, and needs no table of pgqueue. Zero rows: there
-- is no such transaction now.
select l.pid, coalesce(a.usename::text, 'unknown'), coalesce(a.application_name, ''), coalesce(a.state, ''),
       extract(epoch from clock_timestamp() - min(a.xact_start))::float8, min(c.relname::text)
from pg_catalog.pg_locks l
join pg_catalog.pg_class c on c.oid = l.relation
join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = 'pgqueue'
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid()
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
group by l.pid, l.virtualtransaction, a.usename, a.application_name, a.state
order by min(a.xact_start) nulls last
limit 3
