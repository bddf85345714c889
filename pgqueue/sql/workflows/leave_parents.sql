-- Stops children whose parent has ended: sets stop_reason, so that finish_workflow.sql cancels what is open of them. Examines up to `count`
-- workflows of children, in the order of their ids, beginning with the first id that is larger than `after`. If the parent has ended and no
-- child is open, marks the workflow as stopped, so that it is not examined again.
-- Uses workflows_parent_idx, jobs_live_id_key and nodes_open_idx. Locks the workflows that it changes, skipping locked ones.
-- Returns the largest id that it examined; null: there are no more.
with looked as materialized (
    select w.id, w.parent_job
    from pgqueue.workflows w
    where w.parent_job is not null and w.stopped_at is null and w.id > %(after)s::bigint
    order by w.id
    limit %(count)s::int
), orphaned as materialized (
    select w.id, exists (select from pgqueue.nodes n where n.workflow_id = w.id and n.state is null) as has_open
    from pgqueue.workflows w
    where w.id = any(array(
        select l.id from looked l
        cross join lateral (select l.id where not exists (select from pgqueue.jobs_live j where j.id = l.parent_job)) g))
    for update skip locked
), changed as (
    update pgqueue.workflows w
    set stop_reason = case when o.has_open then 'workflow_cancelled' else w.stop_reason end,
        stopped_at = case when not o.has_open then clock_timestamp() end
    from orphaned o
    where w.id = any(array(select f.id from orphaned f)) and w.id = o.id
)
select max(l.id) from looked l
