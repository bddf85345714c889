-- Makes jobs pending whose wait for a signal is over because of its time-out, at most `count`. They keep run_at, so they are due at once.
-- The attempt that follows decides whether a signal came after all (functions/take_signals.sql).
-- Uses jobs_live_timer_idx. Locks the jobs, and skips jobs to which a signal is being delivered or that are being edited or cancelled.
-- If `only` is not null, wakes only jobs with these ids. Finds the rows again by ctid, which cannot change while a row is locked.
-- Returns the ids of these jobs. Zero rows, the normal case: no time-out has passed.
with due as materialized (
    select l.ctid as spot
    from pgqueue.jobs_live l
    where l.state = 'waiting' and l.waits_for is not null and l.run_at <= statement_timestamp()
      and (%(only)s::bigint[] is null or l.id = any(%(only)s::bigint[]))
    order by l.run_at
    limit %(count)s::int
    for update skip locked
), woken as (
    update pgqueue.jobs_live j set state = 'pending', waits_for = null
    where j.ctid = any(array(select d.spot from due d))
    returning j.id, j.lease_id, j.attempt, j.run_at, j.queue
), noted as (
    insert into pgqueue.transitions (job_id, lease_id, run_at, attempt, from_state, to_state, reason)
    select w.id, w.lease_id, w.run_at, w.attempt, 'waiting', 'pending', 'timed_out' from woken w
)
select w.id, w.told::text
from (select w.id, case when row_number() over (partition by w.queue) = 1 then pgqueue.wake(w.queue) end as told from woken w) w
