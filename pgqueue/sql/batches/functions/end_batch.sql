-- Ends a batch if it is sealed and all its parts have ended. Then stores its follow-up jobs: on_success if all members completed, otherwise
-- on_failure, and on_end in either case. Each of them is stored only once, also if the batch ends again after a retry: its node has the rank
-- 1, 2 or 3, which shows that it is there already. For a cancelled batch, stores none.
-- Returns whether it ended the batch. Locks the row of the batch, and then looks with a new snapshot. So of two parts that end at the same
-- time, the second one sees both ends.
-- A transaction with another isolation level than READ COMMITTED gets no new snapshot: it cannot see parts that were added after its first
-- statement. So it never ends a batch, but leaves one of its parts to the leader. If it sees no part, it adds one
-- without members, which ends when the leader looks at it.
-- Uses nodes_parts_idx: reads one row for each part, and none for a member. Runs as the owner, because any end of a job can call it.
create or replace function pgqueue.end_batch(batch bigint)
returns boolean
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $function$
declare
    w     record;
    is_ok boolean;
    jobs  jsonb;
    ids   bigint[];
    ranks integer[];
    part  bigint;
begin
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        part := (select n.id from pgqueue.nodes n where n.workflow_id = batch and n.members is not null order by n.id limit 1);
        if part is null then
            part := nextval('pgqueue.jobs_id_seq');
            insert into pgqueue.nodes (id, workflow_id, rank, name, is_gate, needs, unmet, members)
            values (part, batch, null, part::text, true, 'ended', 0, 0);
        end if;
        perform pgqueue.leave_to_leader(array[part]);
        return false;
    end if;
    -- The row is locked in any case, also if no seal is visible yet: a seal under way then waits, and sees the end of the part.
    select b.follow_ups, b.stop_reason, b.sealed_at, b.ended_at into w
    from pgqueue.workflows b where b.id = batch and b.kind = 'batch' for no key update;
    if not found or w.sealed_at is null or w.ended_at is not null
       or exists (select from pgqueue.nodes n where n.workflow_id = batch and n.members is not null and n.state is null) then
        return false;
    end if;
    update pgqueue.workflows b
    set ended_at = clock_timestamp(), stopped_at = case when w.stop_reason is not null then clock_timestamp() end
    where b.id = batch;
    if w.follow_ups is null or w.stop_reason is not null then
        return true;
    end if;
    is_ok := not exists (select from pgqueue.nodes n where n.workflow_id = batch and n.members is not null and n.state = 'dead');
    select jsonb_agg(w.follow_ups -> f.name || '{"unique": false}' order by f.rank), array_agg(nextval('pgqueue.jobs_id_seq') order by f.rank),
           array_agg(f.rank order by f.rank)
    into jobs, ids, ranks
    from (values ('on_success', 1, is_ok), ('on_failure', 2, not is_ok), ('on_end', 3, true)) f (name, rank, is_wanted)
    where f.is_wanted and w.follow_ups ? f.name
      and not exists (select from pgqueue.nodes n where n.workflow_id = batch and n.rank = f.rank);
    if jobs is not null then
        insert into pgqueue.nodes (id, workflow_id, rank, name, needs, unmet)
        select f.id, batch, f.rank, (array['on_success', 'on_failure', 'on_end'])[f.rank], 'ended', 0 from unnest(ids, ranks) f (id, rank);
        perform pgqueue.insert_nodes(batch, jobs, ids, array_fill(false, array[cardinality(ids)]), clock_timestamp());
    end if;
    return true;
end
$function$;
