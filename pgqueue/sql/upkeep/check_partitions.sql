-- Finds what is wrong with the day tables of jobs_done and transitions. Returns (name, fault, bytes). The faults are: missing (the table of
-- today or tomorrow), detached, detaching (a detach was interrupted), and default (there are rows in a default partition). Locks nothing.
-- Zero rows: all is well.
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
