-- Adds this worker, and makes the rows of its queues. Enqueuing never makes rows of queues, because one enqueuer must not wait for another.
-- The worker chooses its `worker_id` at random. A sequence does not give this id, because a failover can set a sequence back. Two workers
-- would then get the same id.
-- Returns the id. Zero rows: another worker has this id already, and this worker must choose another id.
with known as (
    insert into pgqueue.queues (name)
    select q from unnest(%(queues)s::text[]) as q (q)
    where q not like '%%*%%' and not exists (select from pgqueue.queues k where k.name = q)
    order by q
    on conflict (name) do nothing
)
insert into pgqueue.workers (id, host, pid, version, executor, slots, queues, queue_slots, tasks, app_version, accepts, expires_at)
values (%(worker_id)s::bigint, %(host)s::text, %(pid)s::int, %(version)s::text, %(executor)s::text, %(slots)s::int,
        %(queues)s::text[], %(queue_slots)s::int[], %(tasks)s::text[], %(app_version)s::text, %(accepts)s::text[],
        clock_timestamp() + make_interval(secs => %(lease_seconds)s::float8))
on conflict (id) do nothing
returning id
