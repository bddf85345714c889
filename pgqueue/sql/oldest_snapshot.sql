-- The session that holds back vacuum the longest, if it has done so for over a minute. For `pgq doctor`.
select a.pid, a.usename::text, a.application_name, a.state, extract(epoch from clock_timestamp() - a.xact_start)::float8
from pg_catalog.pg_stat_activity a
where a.backend_xmin is not null and a.datname = current_database() and a.pid <> pg_backend_pid()
  and a.xact_start < clock_timestamp() - interval '1 minute'
order by age(a.backend_xmin) desc
limit 1
