-- Opens these nodes of a workflow again, which have ended, and all nodes behind them that ended and did not complete. Counts again what
-- each of them waits for, and brings their jobs back. The hidden gate of an undo opens again, too. If the nodes are children, revives their
-- parent, so that it waits for them again. retry_workflow() explains the rules and the locks.
-- Returns how many nodes are open again, without hidden ones.
create or replace function pgqueue.retry_nodes(workflow bigint, ids bigint[])
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
declare
    undone  constant text := format('pgqueue: workflow %s cannot run again, because it was undone: store a new one', workflow);
    again   bigint[];
    is_undo boolean;  -- whether only jobs that undo nodes run again
    back    bigint[];
    lost    text;
    parent  bigint;
    became  text;
begin
    -- 1. Lock everything behind these nodes, and behind each parent that is a node itself, because it can be revived. All of these locks come
    --    in the order of the ids. Then find what opens again.
    perform pgqueue.lock_downstream(ids || array(
        with recursive up (id) as (
            select w.parent_job from pgqueue.workflows w where w.id = retry_nodes.workflow
            union
            select w.parent_job from up u
            cross join lateral (select n.workflow_id from pgqueue.nodes n where n.id = u.id offset 0) n
            cross join lateral (select w.parent_job from pgqueue.workflows w where w.id = n.workflow_id offset 0) w
        )
        select u.id from up u where num_nulls(u.id) = 0));
    again := array(
        with recursive down (id) as (
            select n.id from unnest(ids) i (id)
            cross join lateral (select n.id, n.state from pgqueue.nodes n where n.id = i.id offset 0) n
            where num_nulls(n.state) = 0
            union
            select n.id from down w
            cross join lateral (select d.node_id from pgqueue.dependencies d where d.on_id = w.id offset 0) d
            cross join lateral (select n.id, n.state, n.undoes from pgqueue.nodes n where n.id = d.node_id offset 0) n
            where n.state <> 'completed' or n.undoes <= 0 and num_nulls(n.state) = 0
        )
        select w.id from down w order by w.id);
    if again = '{}' then
        return 0;
    end if;
    is_undo := not exists (select from pgqueue.nodes n where n.id = any(again) and num_nulls(n.undoes) = 1);
    if not is_undo and exists (select from pgqueue.workflows w where w.id = retry_nodes.workflow and num_nulls(w.undone_at) = 0) then
        raise exception using errcode = 'PQ404', message = undone;
    end if;

    -- 2. Bring the jobs back, and the parent.
    with gone as (
        select j.* from pgqueue.jobs j
        where j.id = any(again) and j.workflow_id = retry_nodes.workflow and j.state in ('completed', 'cancelled', 'dead')
        for update
    ), stored as (
        insert into pgqueue.jobs_live as l (
            --+ lasting,
            --+ documents,
            id, run_at, state, expires_at, deadline_at, progress, last_error)
        select
            --+ lasting g,
            --+ documents g,
            g.id, clock_timestamp(), 'waiting', case when g.expires_at > clock_timestamp() then g.expires_at end,
            case when g.deadline_at > clock_timestamp() then g.deadline_at end, g.progress, g.last_error
        from gone g
        returning l.id
    ), noted as (
        insert into pgqueue.transitions (job_id, lease_id, attempt, from_state, to_state, reason)
        select g.id, g.lease_id, g.attempt, g.state, 'waiting', 'revived' from gone g
    ), removed as (
        delete from pgqueue.jobs_dead d where d.id = any(array(select g.id from gone g where g.state = 'dead'))
    ), taken as (
        delete from pgqueue.jobs_done d
        where d.id = any(array(select g.id from gone g where g.state <> 'dead')) and d.workflow_id = retry_nodes.workflow
    )
    select array_agg(s.id) into back from stored s;
    select n.name into lost from pgqueue.nodes n
    where n.id = any(again) and not n.is_gate and n.id <> all(coalesce(back, '{}')) order by n.id limit 1;
    if found then
        raise exception using errcode = 'PQ404',
            message = format('pgqueue: node %s cannot run again, because the row of its job was deleted after its retention', lost);
    end if;
    parent := (select w.parent_job from pgqueue.workflows w where w.id = retry_nodes.workflow);
    if parent is not null and not exists (select from pgqueue.jobs_live l where l.id = parent) then
        became := pgqueue.revive(parent);
        if became is null or became in ('completed', 'unique_key') then
            raise exception using errcode = 'PQ404',
                message = format('pgqueue: workflow %s cannot run again, because its jobs are children of job %s, %s', workflow, parent,
                                 case became when 'completed' then 'which has completed'
                                             when 'unique_key' then 'and an unfinished job has the unique key of job ' || parent
                                             else 'whose row was deleted' end);
        end if;
    end if;

    -- 3. Open the nodes, count again for them and for all that wait for them, and look at which of them can run.
    update pgqueue.nodes n set state = null, ended_at = null, result = null, error = null where n.id = any(again);
    update pgqueue.nodes n set unmet = c.unmet, failed = c.failed
    from (
        select i.id, count(b.id) filter (where num_nulls(b.state) = 1) as unmet, count(b.id) filter (where b.state <> 'completed') as failed
        from (select a.id from unnest(again) a (id)
              union
              select d.node_id from unnest(again) a (id)
              cross join lateral (select d.node_id from pgqueue.dependencies d where d.on_id = a.id offset 0) d) i
        left join lateral (
            select b.id, b.state from pgqueue.dependencies d
            cross join lateral (select b.id, b.state from pgqueue.nodes b where b.id = d.on_id offset 0) b
            where d.node_id = i.id) b on true
        group by i.id
    ) c
    where n.id = c.id;
    update pgqueue.workflows w
    set stop_reason = null, stopped_at = null,
        ended_at = case when not exists (select from pgqueue.nodes n where n.id = any(again) and num_nulls(n.members) = 0) then w.ended_at end
    where w.id = retry_nodes.workflow and (is_undo or num_nulls(w.undone_at) = 1);
    if not found then  -- while this update waited for the row, a cancel has stored the undos
        raise exception using errcode = 'PQ404', message = undone;
    end if;
    perform pgqueue.resolve(again, array_fill(null::text, array[cardinality(again)]), array_fill(null::jsonb, array[cardinality(again)]),
                            array_fill(null::text, array[cardinality(again)]));
    return (select count(*) from pgqueue.nodes n where n.id = any(again) and coalesce(n.undoes, 1) > 0);
end
$function$;
