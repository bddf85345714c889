-- All batches: how each of them goes, and how many of its jobs have ended. `failed` counts jobs that are dead or cancelled. Reads one row
-- for each part of a batch, so that a batch of a million jobs is shown at once.
create or replace view pgqueue.batch_overview with (security_invoker) as
    select w.id, w.name, w.key,
           case when w.ended_at is null and w.stop_reason is not null then 'stopping'
                when w.sealed_at is null then 'open'
                when w.ended_at is null then 'running'
                when w.stop_reason is not null then 'cancelled'
                when p.failed > 0 then 'failed'
                else 'completed' end as state,
           p.jobs, p.unfinished, p.jobs - p.unfinished - p.failed as completed, p.failed, w.at_once, w.created_at, w.sealed_at, w.ended_at
    from pgqueue.workflows w
    cross join lateral (
        select coalesce(sum(n.members), 0)::bigint as jobs, coalesce(sum(n.unmet), 0)::bigint as unfinished,
               coalesce(sum(n.failed), 0)::bigint as failed
        from pgqueue.nodes n where n.workflow_id = w.id and n.members is not null
    ) p
    where w.kind = 'batch'
