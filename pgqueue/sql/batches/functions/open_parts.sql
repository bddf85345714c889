-- Takes ids for `count` new members of a batch, and stores their nodes under new parts. A part is a gate of up to 1,000 members: of many
-- members that end one by one, those of one part wait for each other's counter, and the others do not. The caller inserts the jobs in the
-- same transaction, so no member can end before it counts.
-- Returns the ids, the concurrency key that the members must have (null: none), and the time.
-- After the batch was sealed, only members that have not ended can add others: `member` is the id of such a member. So the batch cannot end
-- in between.
-- Raises PQ540 if there is no such batch, or if the member is a node of a workflow instead. Raises PQ440 if the batch takes no more jobs: it
-- is sealed, was cancelled, or has ended.
-- Locks the row of the batch with FOR KEY SHARE. So seal_batch() waits for the end of this transaction, but neither ends of members nor
-- other callers do. During the COMMIT, part_added() looks whether the batch has ended meanwhile.
-- Runs as the owner, because an enqueuer that sends its jobs by COPY calls it.
create or replace function pgqueue.open_parts(batch bigint, count integer, member bigint, out ids bigint[], out key text, out moment timestamptz)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    most  constant integer := 1000;
    total constant integer := open_parts.count + (open_parts.count + most - 1) / most;
    taken bigint[];  -- the ids of the members of a part, then the part's id; the last part can be shorter
    w     record;
begin
    select b.stop_reason, b.ended_at, b.sealed_at, b.at_once into w
    from pgqueue.workflows b where b.id = open_parts.batch and b.kind = 'batch' for key share;
    if not found then
        raise exception using errcode = 'PQ540',
            message = case when member is null then format('pgqueue: there is no batch %s', coalesce(batch::text, 'null'))
                           else format('pgqueue: job %s belongs to no batch', member) end;
    elsif w.stop_reason is not null then
        raise exception using errcode = 'PQ440', message = format('pgqueue: batch %s was cancelled', batch);
    elsif w.ended_at is not null then
        raise exception using errcode = 'PQ440', message = format('pgqueue: batch %s has ended', batch);
    elsif w.sealed_at is not null and not exists (
        select from pgqueue.nodes n where n.id = member and n.workflow_id = batch and n.state is null and n.rank is null
    ) then
        raise exception using errcode = 'PQ440',
            message = format('pgqueue: batch %s is sealed, so only its own unfinished jobs can add jobs', batch);
    end if;
    moment := clock_timestamp();
    key := case when w.at_once is not null then 'pgqueue.batch.' || batch end;
    taken := array(select nextval('pgqueue.jobs_id_seq') from generate_series(1, total));
    insert into pgqueue.nodes (id, workflow_id, rank, name, is_gate, needs, unmet, members)
    select t.id, batch, null, t.id::text, t.size is not null, case when t.size is null then 'completed' else 'ended' end, coalesce(t.size, 0), t.size
    from (select a.id, case when a.n % (most + 1) = 0 or a.n = total then (a.n - 1) % (most + 1) end as size
          from unnest(taken) with ordinality a (id, n)) t;
    insert into pgqueue.dependencies (on_id, node_id)
    select a.id, taken[least((a.n / (most + 1) + 1) * (most + 1), total)]
    from unnest(taken) with ordinality a (id, n)
    where a.n % (most + 1) <> 0 and a.n <> total;
    ids := array(select a.id from unnest(taken) with ordinality a (id, n) where a.n % (most + 1) <> 0 and a.n <> total order by a.n);
end
$function$;
