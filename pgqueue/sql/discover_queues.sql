-- Makes the rows of queues that exist only as jobs so far (no worker serves them), so that they are seen and can be
-- paused. A loose scan of jobs_live_claim_idx. Returns the new names.
with recursive seen as (
    (select j.queue from pgqueue.jobs_live j where j.state in ('pending', 'retrying') order by j.queue limit 1)
    union all
    select next.queue
    from seen s
    cross join lateral (
        select j.queue from pgqueue.jobs_live j
        where j.state in ('pending', 'retrying') and j.queue > s.queue
        order by j.queue limit 1
    ) next
)
insert into pgqueue.queues (name)
select s.queue from seen s
where not exists (select from pgqueue.queues q where q.name = s.queue)
on conflict (name) do nothing
returning name
