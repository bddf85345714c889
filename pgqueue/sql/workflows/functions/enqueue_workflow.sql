-- Stores a workflow with all its nodes in the caller's transaction:
--   select * from pgqueue.enqueue_workflow('{"name": "order", "key": "order-7", "nodes": [
--     {"name": "held", "task": "shop.reserve", "args": {"oid": 7}},
--     {"name": "paid", "task": "shop.charge", "args": {"oid": 7}, "after": ["held"], "results": {"ref": "held"}}]}')
-- `workflow` has: name; nodes; key (only one workflow of this name can have it); on_failure; meta.
-- on_failure says what a dead or cancelled node does:
--   cancel (the default): the nodes that need it are cancelled;
--   stop: so are all open nodes, except those with `when` failed or ended, and running jobs are asked to stop;
--   continue: the nodes behind it run, because their `when` is ended unless they have another one.
-- A node has: name (by default its number, from 1); task, args, and options of a job as in enqueue_many, but none about keys that must be
-- unique; after, the names of the nodes that it waits for;
--   when: completed (the default: all of these must complete), ended (it runs in any case) or failed (it runs if at least one did not);
--   results: for each name of an argument, the node whose result becomes that argument. The node waits for it, too.
--   undo: {"task": …, "args": …} and options of a job. If the workflow fails or is cancelled, and this node has completed, then its undo
--     runs when all nodes are at rest: the undo of the node that ended last runs first (begin_undo.sql). `results` in it gives it the
--     results of this node and of earlier ones.
-- Or it has group instead of a task: a list of names. It ends when all these have ended, and its result is the list of their results.
--   gives: members (in the result of what waits for it, these results stand in its place, not as a list of their own) or nothing (its
--   result is empty). The builder in Python divides large groups by the first, and keeps the order around an empty group by the second.
-- `after`, `results` and `group` name nodes that are listed earlier, so there can be no cycle.
-- Jobs that wait for nothing are pending, the others waiting. A delay counts from now on. Nodes of a group that is empty count as
-- completed.
-- Returns (id, created, node_ids): the ids of the nodes, in order. If there is a workflow with the key, returns that one, with created =
-- false, and stores nothing.
-- Runs as the owner, so that an enqueuer needs no rights on the tables of workflows. Locks the workflow's key: waits for another
-- transaction only if that one stores a workflow with the same key.
create or replace function pgqueue.enqueue_workflow(workflow jsonb, out id bigint, out created boolean, out node_ids bigint[])
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_nestloop = off  -- the planner expects few nodes, and would compare the name of each node with all others
set enable_mergejoin = off
as $function$
#variable_conflict use_column
declare
    moment  constant timestamptz := clock_timestamp();
    nodes   jsonb := workflow -> 'nodes';
    size    integer;
    edges   record;     -- arrays: rank of the node that waits, rank and name of the node that it waits for
    bad     integer;
    born    boolean[];  -- whether the node counts as completed from the beginning
    unmet   integer[];
    named   jsonb;      -- the id of each node, by its name, if nodes take results
    jobs    jsonb;
    ranks   integer[];  -- of each element of `jobs`
    has_undo boolean;
    idle    bigint[];   -- nodes that wait only for empty groups, and take their results or run only after a failure
begin
    perform pgqueue.check_workflow(workflow);
    size := jsonb_array_length(nodes);
    has_undo := exists (select from jsonb_array_elements(nodes) n (body) where coalesce(n.body -> 'undo', 'null') <> 'null');
    if has_undo then
        perform pgqueue.check_undos(nodes);
    end if;

    -- 1. Find the edges.
    with node as materialized (
        select n.rank::integer as rank, n.body, coalesce(n.body ->> 'name', n.rank::text) as name
        from jsonb_array_elements(nodes) with ordinality n (body, rank)
    ), wanted as (
        select n.rank, w.name from node n
        cross join lateral (
            select a.name from jsonb_array_elements_text(n.body -> 'after') a (name)
            union select g.name from jsonb_array_elements_text(n.body -> 'group') g (name)
            union select r.value from jsonb_each_text(n.body -> 'results') r) w (name)
        where n.body ?| array['after', 'group', 'results']
    )
    select coalesce(array_agg(w.rank order by w.rank, n.rank), '{}') as ranks, coalesce(array_agg(n.rank order by w.rank, n.rank), '{}') as befores,
           coalesce(array_agg(w.name order by w.rank, n.rank), '{}') as names
    into edges
    from wanted w left join node n on n.name = w.name;
    bad := (select min(e.n) from unnest(edges.ranks, edges.befores) with ordinality e (rank, before, n)
            where e.before is null or e.before >= e.rank);
    if bad is not null then
        perform pgqueue.refuse_edge(nodes, edges.ranks, edges.befores, edges.names, bad);
    end if;

    -- 2. Store the workflow.
    insert into pgqueue.workflows as w (name, key, on_failure, meta)
    values (workflow ->> 'name', workflow ->> 'key', coalesce(workflow ->> 'on_failure', 'cancel'), coalesce(workflow -> 'meta', '{}'))
    on conflict (name, key) where key is not null do nothing
    returning w.id into enqueue_workflow.id;
    created := found;
    if not created then
        select w.id into enqueue_workflow.id from pgqueue.workflows w
        where w.name = workflow ->> 'name' and w.key = workflow ->> 'key';
        node_ids := array(select n.id from pgqueue.nodes n where n.workflow_id = enqueue_workflow.id and n.undoes is null order by n.rank);
        return;
    end if;

    -- 3. Count for how many open nodes each node waits. A gate that waits for none is complete.
    node_ids := array(select nextval('pgqueue.jobs_id_seq') from generate_series(1, size));
    unmet := array_fill(0, array[size]);
    born := array_fill(false, array[size]);
    for n in 1 .. coalesce(cardinality(edges.ranks), 0) loop
        if n = 1 or edges.ranks[n] <> edges.ranks[n - 1] then
            -- The nodes between the last edge and this one wait for nothing.
            for r in case n when 1 then 1 else edges.ranks[n - 1] end .. edges.ranks[n] - 1 loop
                born[r] := unmet[r] = 0 and nodes -> r - 1 ? 'group';
            end loop;
        end if;
        if not born[edges.befores[n]] then
            unmet[edges.ranks[n]] := unmet[edges.ranks[n]] + 1;
        end if;
    end loop;
    for r in coalesce(edges.ranks[cardinality(edges.ranks)], 1) .. size loop
        born[r] := unmet[r] = 0 and nodes -> r - 1 ? 'group';
    end loop;

    -- 4. Store the nodes, the edges and the jobs.
    if jsonb_path_exists(nodes, '$[*].results') then
        named := (select jsonb_object_agg(coalesce(n.body ->> 'name', n.rank::text), node_ids[n.rank])
                  from jsonb_array_elements(nodes) with ordinality n (body, rank));
    end if;
    insert into pgqueue.nodes (id, workflow_id, rank, unmet, is_gate, needs, state, ended_at, name, fills, gives, undo)
    select node_ids[n.rank], enqueue_workflow.id, n.rank, unmet[n.rank], n.body ? 'group',
           case when n.body ? 'group' then 'ended'
                else coalesce(n.body ->> 'when', case workflow ->> 'on_failure' when 'continue' then 'ended' else 'completed' end) end,
           case when born[n.rank] then 'completed' end, case when born[n.rank] then moment end,
           coalesce(n.body ->> 'name', n.rank::text),
           case when n.body ? 'results' then (select jsonb_object_agg(r.key, named -> r.value) from jsonb_each_text(n.body -> 'results') r) end,
           n.body ->> 'gives', nullif(n.body -> 'undo', 'null')
    from jsonb_array_elements(nodes) with ordinality n (body, rank)
    order by n.rank;
    insert into pgqueue.dependencies (on_id, node_id)
    select node_ids[e.before], node_ids[e.rank] from unnest(edges.ranks, edges.befores) e (rank, before)
    order by 1, 2;
    -- `unique` keeps with_declared from adding options about keys, which a node cannot have.
    select jsonb_agg(n.body - array['name', 'after', 'when', 'results', 'undo'] || '{"unique": false}' order by n.rank),
           array_agg(n.rank order by n.rank)
    into jobs, ranks
    from jsonb_array_elements(nodes) with ordinality n (body, rank) where n.body ? 'task';
    if jobs is null then
        return;
    end if;
    perform pgqueue.insert_nodes(enqueue_workflow.id, jobs, array(select node_ids[r.rank] from unnest(ranks) with ordinality r (rank, n) order by r.n),
                                 array(select unmet[r.rank] > 0 or nodes -> r.rank - 1 ->> 'when' is not distinct from 'failed'
                                              or coalesce(nodes -> r.rank - 1 -> 'results', '{}') <> '{}'
                                       from unnest(ranks) with ordinality r (rank, n) order by r.n), moment);
    if has_undo then
        perform pgqueue.insert_undo_gate(enqueue_workflow.id, array(select node_ids[r.rank] from unnest(ranks) r (rank) order by 1));
    end if;
    idle := array(select node_ids[r.rank] from unnest(ranks) r (rank)
                  where unmet[r.rank] = 0 and (nodes -> r.rank - 1 ->> 'when' = 'failed' or nodes -> r.rank - 1 -> 'results' <> '{}'));
    if idle <> '{}' then
        perform pgqueue.resolve(idle, array_fill(null::text, array[cardinality(idle)]), array_fill(null::jsonb, array[cardinality(idle)]),
                                array_fill(null::text, array[cardinality(idle)]));
    end if;
end
$function$;
