-- Removes up to `count` jobs of a benchmark, those with ids from `floor` on, with their transitions, and all other rows of the benchmark:
-- the counts of its queue, its task, its schedules' set, its alerts, its worker and its queue.
-- Reads the ids of jobs by the indexes of each part of the table, from `floor` on. Locks the rows that it deletes.
-- Returns how many jobs it has removed. If there were `count`, call it again.
with doomed as materialized (
    select j.id from pgqueue.jobs j where j.id >= %(floor)s::bigint and j.queue = %(queue)s::text order by j.id limit %(count)s::int
), gone as (
    delete from pgqueue.jobs j using doomed d where j.id = d.id and j.queue = %(queue)s::text
), history as (
    delete from pgqueue.transitions t using doomed d where t.job_id = d.id
), counts as (
    delete from pgqueue.stats s where s.queue = %(queue)s::text
), declared as (
    delete from pgqueue.tasks t where t.name = %(queue)s::text
), schedules as (
    delete from pgqueue.schedule_sets s where s.app = %(queue)s::text
), raised as (
    delete from pgqueue.alerts a where a.queue = %(queue)s::text
), served as (
    delete from pgqueue.workers w where w.queues = array[%(queue)s::text]
), named as (
    delete from pgqueue.queues q where q.name = %(queue)s::text
)
select count(*) from doomed
