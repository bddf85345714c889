-- What is wrong with the days of jobs_done and transitions: (name, fault, bytes). Faults: missing (today's or tomorrow's),
-- detached, detaching, and default (rows lie in a default partition). Locks nothing. Zero rows: all is well.
select p.parent || '_' || to_char(n.day, 'YYYYMMDD'), 'missing', 0::bigint
from unnest(array['jobs_done', 'transitions']) as p (parent)
cross join (select (clock_timestamp() at time zone 'UTC')::date + n as day from generate_series(0, 1) n) n
where not exists (select from pgqueue.day_tables() d where d.parent = p.parent and d.day = n.day)
union all
select d.name, case when d.detaching then 'detaching' else 'detached' end,
       pg_total_relation_size(('pgqueue.' || d.name)::regclass)
from pgqueue.day_tables() d
where d.detaching or not d.attached
union all
select 'jobs_done_default', 'default', pg_total_relation_size('pgqueue.jobs_done_default')
where exists (select from pgqueue.jobs_done_default)
union all
select 'transitions_default', 'default', pg_total_relation_size('pgqueue.transitions_default')
where exists (select from pgqueue.transitions_default)
