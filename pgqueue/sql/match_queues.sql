-- The queues that hold unclaimed jobs and whose names fit one of these LIKE patterns: a loose scan of jobs_live_claim_idx,
-- one probe a queue. Locks nothing. Zero rows: none does.
with recursive seen as (
    (select j.queue::text from pgqueue.jobs_live j where j.state in ('pending', 'retrying') order by j.queue limit 1)
    union all
    select next.queue
    from seen s
    cross join lateral (
        select j.queue::text from pgqueue.jobs_live j
        where j.state in ('pending', 'retrying') and j.queue > s.queue
        order by j.queue limit 1
    ) next
)
select s.queue from seen s where s.queue like any(%(patterns)s::text[])
