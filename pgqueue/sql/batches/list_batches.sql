-- Lists batches, the newest first: at most `count`, those with ids below `before` (null: all), with this name and in this state (null:
-- any).
-- Returns rows with the columns of views/batch_overview.sql. Zero rows: there is none. Locks nothing.
select b.id, b.name, b.key, b.state, b.jobs, b.unfinished, b.completed, b.failed, b.at_once, b.created_at, b.sealed_at, b.ended_at
from pgqueue.batch_overview b
where (%(before)s::bigint is null or b.id < %(before)s::bigint) and (%(name)s::text is null or b.name = %(name)s::text)
  and (%(state)s::text is null or b.state = %(state)s::text)
order by b.id desc
limit %(count)s::int
