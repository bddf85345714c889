-- Lists adopted jobs of one system that have not started: their ids, what their meta says of them, and their arguments.
-- Locks nothing: `act` locks the jobs, and looks at their state again. Reads jobs_live by jobs_live_id_key. Zero rows: there are no more.
select j.id, j.task, (j.meta -> 'adopted')::text, j.args::text, j.run_at
from pgqueue.jobs_live j
where j.id > %(after)s::bigint and j.state = 'pending' and j.started_at is null
      and j.meta -> 'adopted' ->> 'from' = %(system)s::text and j.meta -> 'adopted' ->> 'table' = %(table)s::text
order by j.id
limit %(count)s::integer
