-- Claims due jobs: marks up to `count` of them running under this worker, and returns all columns that the worker needs to run and settle
-- them.
-- Scans one lane (a queue and a priority) after the other in the given order, by jobs_live_claim_idx. In each lane the scan begins at the
-- position (`since`, `since_ids`).
-- Locks the rows that it claims, in the order of the scan. Skips rows that other transactions have locked, so a claim never waits for an
-- update of a row.
-- The CTE is materialized, so it runs only once. If a plan ran it again for each row, it could claim more jobs than `count`. The update
-- finds the rows again by ctid, which cannot change while a row is locked.
-- Does not claim:
--   all jobs of a paused queue;
--   jobs that have expired or are past their deadline, and jobs that were asked to stop while their last attempt ended (finish_overdue.sql
--     finishes all these);
--   jobs with a concurrency_key, parked jobs, all jobs of a lane under a limit, and all jobs while any task is paused (claim_limited.sql
--     claims these);
--   jobs of tasks that this worker does not know, and jobs whose checkpoints are of a version that this worker does not accept. For each
--     version that a task accepts, `tasks` also contains <task>@<version>. No task has such a name.
-- Zero rows: no such job is due in these lanes, or the lease of this worker has run out. In the second case a claim would be useless,
-- because the next rescue would take the jobs back.
with found as materialized (
    select j.spot
    from unnest(%(queues)s::text[], %(priorities)s::smallint[], %(since)s::float8[], %(since_ids)s::bigint[])
        as lane (queue, priority, since, since_id)
    cross join lateral (
        select l.ctid as spot
        from pgqueue.jobs_live l
        where l.queue = lane.queue and l.priority = lane.priority
          and --+ claim_idx l
          and (l.run_at, l.id) >= (to_timestamp(lane.since), lane.since_id) and l.run_at <= statement_timestamp()
          and l.task = any(%(tasks)s::text[]) and (l.version is null or l.task || '@' || l.version = any(%(tasks)s::text[]))
          and not l.cancel_requested
          and (l.expires_at is null or l.expires_at > statement_timestamp()) and (l.deadline_at is null or l.deadline_at > statement_timestamp())
        order by l.run_at, l.id
        limit %(count)s::int
        for update skip locked
    ) j
    where not exists (select from pgqueue.queues q where q.name = lane.queue and q.paused)
      and not exists (select from pgqueue.limits m where not m.per_key and (m.queue is null or m.queue = lane.queue))
      and not exists (select from pgqueue.pauses p where p.key = '' and p.until > statement_timestamp())
      and exists (select from pgqueue.workers w where w.id = %(worker_id)s::bigint and w.expires_at > clock_timestamp())
    limit %(count)s::int
)
update pgqueue.jobs_live j
set
    --+ starting j,
    worker_id = %(worker_id)s::bigint, started_at = clock_timestamp()
where j.ctid = any(array(select f.spot from found f))
returning
    --+ claimed j
