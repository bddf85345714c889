-- Groups the newest failures by their fingerprint (functions/fingerprint.sql), the group that failed last first. Counts each group in the last
-- hour, day and week, and its dead jobs.
-- Reads at most `most` failures of the last week (functions/recent_failures.sql), and at most `most` dead jobs (functions/recent_dead.sql).
-- `read_since` is the time of the oldest failure that was read, if there can be older ones; null: all failures of the week were read. Tasks and
-- queues are those of the 20 newest jobs of each group; the documents are those of the newest job. Locks nothing. Zero rows: there was no error.
with failures as materialized (
    select f.at, f.job_id, f.error, pgqueue.error_origin(f.error, f.traceback) as origin
    from pgqueue.recent_failures(clock_timestamp() - interval '7 days', %(most)s::int) f
), dead as materialized (
    select d.id, d.task, d.queue, d.finished_at, d.last_error, pgqueue.error_origin(d.last_error, d.last_traceback) as origin
    from pgqueue.recent_dead(%(most)s::int) d
    where d.last_error is not null
), bound as materialized (
    select case when count(*) >= %(most)s::int then min(f.at) end as read_since from failures f
), failed as (
    select f.origin, count(*) filter (where f.at > clock_timestamp() - interval '1 hour') as in_hour,
           count(*) filter (where f.at > clock_timestamp() - interval '1 day') as in_day, count(*) as in_week,
           min(f.at) as first_at, max(f.at) as last_at, (array_agg(f.job_id order by f.at desc))[1:20] as job_ids,
           (array_agg(f.error order by f.at desc))[1] as error
    from failures f
    group by f.origin
), ended as (
    select d.origin, count(*) as jobs, min(d.finished_at) as first_at, max(d.finished_at) as last_at,
           (array_agg(d.id order by d.finished_at desc))[1:20] as job_ids, (array_agg(d.last_error order by d.finished_at desc))[1] as error
    from dead d
    group by d.origin
), grouped as (
    select coalesce(f.origin, b.origin) as origin, coalesce(f.in_hour, 0) as in_hour, coalesce(f.in_day, 0) as in_day,
           coalesce(f.in_week, 0) as in_week, least(f.first_at, b.first_at) as first_at, greatest(f.last_at, b.last_at) as last_at,
           coalesce(b.jobs, 0) as dead, coalesce(f.job_ids, b.job_ids) as job_ids, coalesce(f.error, b.error) as error
    from failed f full join ended b on b.origin = f.origin
)
select pgqueue.fingerprint_of(g.origin), g.origin, g.error, g.in_hour, g.in_day, g.in_week, pgqueue.time_of(g.first_at), pgqueue.time_of(g.last_at),
       g.dead, g.job_ids[1], u.tasks, u.queues, b.read_since, s.*
from grouped g
cross join bound b
cross join lateral (
    select coalesce(array_agg(distinct j.task::text), '{}') as tasks, coalesce(array_agg(distinct j.queue::text), '{}') as queues
    from pgqueue.jobs j where j.id = any(g.job_ids)) u
left join lateral (
    select
        --+ secret_documents j
    from pgqueue.jobs j where j.id = g.job_ids[1] limit 1
) s on true
where %(fingerprint)s::text is null or pgqueue.fingerprint_of(g.origin) = %(fingerprint)s::text
order by g.last_at desc, g.origin
limit %(count)s::int
