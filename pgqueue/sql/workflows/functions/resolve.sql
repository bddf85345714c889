-- Tells workflows that nodes have ended: counts each end at the nodes that wait for it, and releases or ends those that wait no longer.
-- The statements that end jobs call it in the same transaction, for rows with a workflow_id. The fence of these statements lets each job
-- end only once, so each end counts exactly once. The elements of the four arrays belong together. An element whose state is null is not an
-- end: its node is only looked at again.
-- A node is released when the last node that it waits for ends, if its `needs` allow that. A node that needs completed ones is cancelled as
-- soon as one of them is dead or cancelled. A node that needs a failed one is cancelled if all completed. A gate, which has no job, ends
-- when all that it waits for have ended. It is dead if one of these did not complete.
-- A node that the database refuses to release or to end is left to the leader (move_nodes.sql).
-- Order of locks, of every caller: rows of jobs that the caller ends; nodes, by ascending id; rows of jobs that are released or ended here,
-- never waiting for one (release_nodes.sql); seats are locked before all nodes; rows of `workflows` last: those of workflows that stop,
-- then those of batches.
-- The ids of nodes ascend along each edge, so each node at which an end is counted has a greater id than the node that ended. The work is
-- done in rounds, so that nodes are locked by ascending id. One round counts at all known nodes up to the first one that can end because of
-- this round. The nodes behind that one, at which its end must be counted, have greater ids, and belong to the next round. The hidden gate
-- of an undo, to which each node leads, is counted at in a round of its own. If a node fails, everything behind it can end in this
-- transaction, so all of that is locked first.
-- Uses nodes_pkey and dependencies_pkey. No index depends on a column that changes here, so an end writes no index.
-- A batch ends with its last part (end_batches.sql), except if `keeps_batches`: then the caller does this later.
-- When the hidden gate of a workflow that can be undone ends, begin_undo() stores the jobs that undo it, after all other locks.
-- Returns how many jobs were released. Also counts those that were left to the leader.
create or replace function pgqueue.resolve(ids bigint[], states text[], results jsonb[], errors text[], keeps_batches boolean default false)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
set enable_memoize = off
as $function$
declare
    -- Whether all that these ends can reach is locked already. Then any node can end in any round.
    is_bad    boolean := exists (select from unnest(states) s (state) where s.state is distinct from 'completed');
    first     boolean := true;
    -- Nodes to be counted at, by ascending id: how many of the nodes that they wait for ended, and how many of these failed; and which
    -- element of the arguments says how the node itself ended.
    due       bigint[];
    ends      integer[];
    bads      integer[];
    own       integer[];
    part      bigint[];
    part_ends integer[];
    part_bads integer[];
    part_own  integer[];
    cut       bigint;
    hidden    bigint;
    ended     bigint[] := ids;  -- the nodes whose end is to be counted in the next round
    ended_as  text[] := states;
    failed    bigint[] := array(select e.id from unnest(ids, states) e (id, state) where e.state <> 'completed');
    ready     bigint[];
    doomed    bigint[];
    over      bigint[];
    over_as   text[];
    large     bigint[];
    parts     bigint[] := array(select e.id from unnest(ids, states) e (id, state) where e.state is null);  -- perhaps the last ones of a batch
    rested    bigint[];         -- gates of workflows all of whose nodes have ended, and which can be undone
    released  integer := 0;
begin
    if is_bad then
        perform pgqueue.lock_downstream(ids);
    else
        -- All completed. Nearly always the nodes that wait for these have greater ids than all of these. Then the first round counts only
        -- at those, and the own nodes are written before it.
        select array_agg(w.id order by w.id), array_agg(w.ends order by w.id), array_agg(0), array_agg(null::integer)
        into due, ends, bads, own
        from (
            select d.node_id as id, count(*)::integer as ends
            from pgqueue.dependencies d where d.on_id = any(ids) group by d.node_id
        ) w;
        if due is null or due[1] > (select max(i.id) from unnest(ids) i (id)) then
            if num_nulls(variadic results) = cardinality(results) then
                update pgqueue.nodes n set state = 'completed', ended_at = clock_timestamp() where n.id = any(ids) and num_nulls(n.state) = 1;
            else
                update pgqueue.nodes n set state = 'completed', ended_at = clock_timestamp(), result = e.result
                from (select e.id, e.result from unnest(ids, results) e (id, result) order by e.id) e
                where n.id = e.id and num_nulls(n.state) = 1;
            end if;
            ended := null;
        else
            due := null;
        end if;
    end if;
    loop
        if ended is not null then
            select array_agg(w.id order by w.id), array_agg(w.ends order by w.id), array_agg(w.bads order by w.id), array_agg(w.own order by w.id)
            into due, ends, bads, own
            from (
                select u.id, sum(u.ends)::integer as ends, sum(u.bads)::integer as bads, max(u.own) as own
                from (
                    select p.id, p.ends, p.bads, p.own from unnest(due, ends, bads, own) p (id, ends, bads, own)
                    union all
                    select e.id, 0, 0, case when e.state is not null then e.rank::integer end
                    from unnest(ended, ended_as) with ordinality e (id, state, rank) where first
                    union all
                    select d.node_id, 1, (e.state <> 'completed')::integer, null
                    from unnest(ended, ended_as) e (id, state)
                    cross join lateral (select d.node_id from pgqueue.dependencies d where d.on_id = e.id offset 0) d
                    where e.state is not null
                ) u
                group by u.id
            ) w;
        end if;
        first := false;
        exit when coalesce(cardinality(due), 0) = 0;

        cut := null;
        if not is_bad then
            select min(n.id), min(n.id) filter (where n.is_hidden) into cut, hidden
            from unnest(due, bads) w (id, bad)
            cross join lateral (
                select n.id, n.undoes <= 0 as is_hidden from pgqueue.nodes n
                where n.id = w.id and (n.is_gate or n.needs = 'failed' or n.failed > 0 or w.bad > 0) offset 0) n;
        end if;
        cut := case when cut is null then cardinality(due)
                    when cut = hidden then greatest(array_position(due, cut) - 1, 1)
                    else array_position(due, cut) end;
        part := due[:cut];
        part_ends := ends[:cut];
        part_bads := bads[:cut];
        part_own := own[:cut];
        due := due[cut + 1:];
        ends := ends[cut + 1:];
        bads := bads[cut + 1:];
        own := own[cut + 1:];

        with counted as (
            update pgqueue.nodes n
            set unmet = n.unmet - w.ends, failed = n.failed + w.bads, state = coalesce(n.state, states[w.own]),
                ended_at = case when w.own is not null then clock_timestamp() else n.ended_at end,
                result = case when w.own is not null then results[w.own] else n.result end,
                error = case when w.own is not null then left(errors[w.own], 10000) else n.error end
            from unnest(part, part_ends, part_bads, part_own) w (id, ends, bads, own)
            where n.id = w.id
            returning n.id, n.state, n.is_gate, n.needs, n.unmet, n.failed, n.undoes
        ), judged as (
            select c.id, c.failed, c.undoes, case
                when c.state is not null then case when c.undoes = 0 and c.unmet = 0 then 'rested' end
                when c.is_gate then case when c.unmet = 0 then 'over' end
                when c.needs = 'completed' and c.failed > 0 or c.needs = 'failed' and c.unmet = 0 and c.failed = 0 then 'doomed'
                when c.unmet = 0 then 'ready' end as next
            from counted c
        )
        select array_agg(j.id order by j.id) filter (where j.next = 'ready'), array_agg(j.id order by j.id) filter (where j.next = 'doomed'),
               array_agg(j.id order by j.id) filter (where j.next = 'over'),
               array_agg(case when j.failed > 0 then 'dead' else 'completed' end order by j.id) filter (where j.next = 'over'),
               rested || array_agg(j.id order by j.id) filter (where j.undoes = 0)
        into ready, doomed, over, over_as, rested
        from judged j where j.next is not null;

        ended := over;
        ended_as := over_as;
        parts := parts || over;
        large := null;
        if ready is not null then
            large := pgqueue.move_nodes(ready, null);
            released := released + cardinality(ready) - coalesce(cardinality(large), 0);
        end if;
        if not is_bad and (doomed is not null or large is not null) then
            -- What is behind these nodes is not locked yet, so only the last node of the round can end. The leader ends the others.
            perform pgqueue.leave_to_leader(array(select u.id from unnest(doomed || large) u (id) where u.id < part[cut]));
            doomed := case when part[cut] = any(doomed) then part[cut:cut] end;
            large := case when part[cut] = any(large) then part[cut:cut] end;
        end if;
        if large is not null then
            large := pgqueue.move_nodes(large, 'dead');
            ended := ended || large;
            ended_as := ended_as || array_fill('dead'::text, array[coalesce(cardinality(large), 0)]);
        end if;
        if doomed is not null then
            doomed := pgqueue.move_nodes(doomed, 'cancelled');
            ended := ended || doomed;
            ended_as := ended_as || array_fill('cancelled'::text, array[coalesce(cardinality(doomed), 0)]);
        end if;
        if ended is not null and cardinality(ended) > 0 then
            if not is_bad and ended_as && array['dead', 'cancelled'] then
                is_bad := true;
                perform pgqueue.lock_downstream(ended || due);
            end if;
            failed := failed || array(select e.id from unnest(ended, ended_as) e (id, state) where e.state <> 'completed');
            update pgqueue.nodes n
            set state = e.state, ended_at = clock_timestamp(), error = coalesce(n.error, case
                when e.state = 'dead' and not n.is_gate then 'The results that it waits for are too long for its arguments.'
                when e.state = 'completed' then null
                when n.is_gate then 'A node that it waits for did not complete.'
                when n.needs = 'failed' then 'It was not needed, because everything that it waits for completed.'
                else 'A node that it waits for did not complete.' end)
            from unnest(ended, ended_as) e (id, state)
            where n.id = e.id;
        end if;
    end loop;

    -- A failure stops the workflow if its on_failure says so. The leader ends what is open (finish_workflow.sql).
    if cardinality(failed) > 0 then
        update pgqueue.workflows w set stop_reason = 'workflow_failed', stopped_at = null
        where w.id = any(array(
            select s.id
            from (select distinct n.workflow_id from unnest(failed) f (id)
                  cross join lateral (select n.workflow_id from pgqueue.nodes n
                                      where n.id = f.id and num_nulls(n.undoes) = 1 and not (n.needs = 'failed' and n.failed = 0) offset 0) n) d
            cross join lateral (select w.id from pgqueue.workflows w
                                where w.id = d.workflow_id and w.on_failure = 'stop' and num_nulls(w.stop_reason) = 1 offset 0) s
            order by s.id))
          and num_nulls(w.stop_reason) = 1;
    end if;
    if cardinality(parts) > 0 and not keeps_batches then
        perform pgqueue.end_batches(parts);
    end if;
    if cardinality(parts) > 0 then
        perform pgqueue.signal_parents(parts);
    end if;
    -- Of the workflows that came to rest, those that failed are undone.
    perform pgqueue.begin_undo(g.id) from unnest(rested) g (id);
    return released;
end
$function$;
