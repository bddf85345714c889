-- The queues that hold unclaimed jobs and whose names fit one of these LIKE patterns: loose scans of jobs_live_claim_idx
-- and jobs_live_key_idx, one probe a queue. Locks nothing. Zero rows: none does.
with recursive seen as (
    select least(
        (select j.queue::text from pgqueue.jobs_live j
         where j.state in ('pending', 'retrying') and j.concurrency_key is null and j.parked is null order by j.queue limit 1),
        (select j.queue::text from pgqueue.jobs_live j
         where j.state in ('pending', 'retrying') and (j.concurrency_key is not null or j.parked) order by j.queue limit 1)) as queue
    union all
    select least(
        (select j.queue::text from pgqueue.jobs_live j
         where j.state in ('pending', 'retrying') and j.concurrency_key is null and j.parked is null and j.queue > s.queue
         order by j.queue limit 1),
        (select j.queue::text from pgqueue.jobs_live j
         where j.state in ('pending', 'retrying') and (j.concurrency_key is not null or j.parked) and j.queue > s.queue
         order by j.queue limit 1))
    from seen s where s.queue is not null
)
select s.queue from seen s where s.queue like any(%(patterns)s::text[])
