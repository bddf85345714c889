-- Deletes workflows that ended longer ago than the longest retention of any queue, with their nodes and edges: at most `count` nodes, of at
-- most 100 workflows. A workflow goes after its last node, with a later call, and the limit of a batch goes with the batch. Skips locked
-- rows. Keeps children as long as the row of their parent exists: the checkpoints of the parent stay as long, so another attempt of it reads
-- the results of the children again.
-- Uses workflows_created_idx, nodes_workflow_key and dependencies_node_idx. Looks parents up by id, in the index of each partition of jobs.
-- Returns how many nodes and workflows it deleted.
with bound as materialized (
    select clock_timestamp() - greatest((select max(q.retention) from pgqueue.queues q), interval '1 day') as until
), over as materialized (
    select w.id from pgqueue.workflows w
    where w.created_at < (select b.until from bound b)
      and case when w.kind = 'batch'  -- its own row tells that its members have ended
               then w.ended_at < (select b.until from bound b)
                    and not exists (select from pgqueue.nodes n where n.workflow_id = w.id and n.rank between 1 and 3 and n.state is null)
               when w.parent_job is not null and (select true from pgqueue.jobs j where j.id = w.parent_job limit 1) then false
               else not exists (select from pgqueue.nodes n where n.workflow_id = w.id and n.state is null)
                    and not exists (select from pgqueue.nodes n where n.workflow_id = w.id and n.ended_at >= (select b.until from bound b)) end
    order by w.created_at
    limit 100
    for update skip locked
), gone as (
    delete from pgqueue.nodes n
    where n.id = any(array(
        select o.id from pgqueue.nodes o where o.workflow_id = any(array(select v.id from over v))
        limit %(count)s::int for update skip locked))
    returning n.id
), cut as (
    delete from pgqueue.dependencies d where d.node_id = any(array(select g.id from gone g))
), ended as (
    delete from pgqueue.workflows w
    where w.id = any(array(select v.id from over v where not exists (select from pgqueue.nodes n where n.workflow_id = v.id)))
    returning w.id
), unlimited as (
    delete from pgqueue.limits l where l.queue is null and l.key = any(array(select 'pgqueue.batch.' || e.id from ended e))
)
select (select count(*) from gone) + (select count(*) from ended)
