-- Deletes the signals of jobs whose rows are gone. Examines up to `count` jobs that have signals, in the order of their ids, beginning with
-- the first id that is larger than `after`.
-- Leaves signals of the last hour alone, because a sender can store a signal before the transaction that enqueues its job has committed.
-- Uses a loose index scan of signals_job_idx, with one probe for each job. Looks each id up in the index of each partition of jobs.
-- Locks the rows that it deletes. Returns the largest id that it examined; null: no job with a larger id than `after` has signals.
with recursive walk (id, n) as (
    select (select min(s.job_id) from pgqueue.signals s where s.job_id > %(after)s::bigint), 1
    union all
    select (select min(s.job_id) from pgqueue.signals s where s.job_id > w.id), w.n + 1
    from walk w where w.id is not null and w.n < %(count)s::int
), gone as materialized (
    select w.id from walk w where w.id is not null and not exists (select from pgqueue.jobs j where j.id = w.id)
), deleted as (
    delete from pgqueue.signals s
    where s.job_id = any(array(select g.id from gone g)) and s.at < clock_timestamp() - interval '1 hour'
)
select max(w.id) from walk w
