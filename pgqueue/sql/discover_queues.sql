-- Makes the rows of queues that exist only as jobs so far (no worker serves them), so that they are seen and can be
-- paused. Loose scans of jobs_live_claim_idx and jobs_live_key_idx. Returns the new names.
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
insert into pgqueue.queues (name)
select s.queue from seen s
where s.queue is not null and not exists (select from pgqueue.queues q where q.name = s.queue)
on conflict (name) do nothing
returning name
