-- Deletes the kept log lines of jobs whose rows are gone. Examines up to `count` jobs that have kept lines, in the order of their ids,
-- beginning with the first id that is larger than `after`.
-- Uses a loose index scan of the primary key of job_lines, with one probe for each job. Looks each id up in the index of each partition
-- of jobs.
-- Locks the rows that it deletes. Returns the largest id that it examined; null: no job with a larger id than `after` has kept lines.
with recursive walk (id, n) as (
    select (select min(c.job_id) from pgqueue.job_lines c where c.job_id > %(after)s::bigint), 1
    union all
    select (select min(c.job_id) from pgqueue.job_lines c where c.job_id > w.id), w.n + 1
    from walk w where w.id is not null and w.n < %(count)s::int
), gone as materialized (
    select w.id from walk w where w.id is not null and not exists (select from pgqueue.jobs j where j.id = w.id)
), deleted as (
    delete from pgqueue.job_lines c where c.job_id = any(array(select g.id from gone g))
)
select max(w.id) from walk w
