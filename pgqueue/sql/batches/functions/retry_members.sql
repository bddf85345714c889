-- Runs those members of a batch again that did not complete: those of the parts with the smallest ids above `after`. Takes parts as long as
-- at most `count` of their members did not complete, and at least one part, which has up to 1,000 members. So a walk over all parts reaches
-- each member, although the ids of the members of two parts can interleave: two programs can take these ids at the same time.
-- Members whose rows were deleted after their retention are left out. The parts of these members and the batch are open again. When it ends,
-- on_success still follows if all completed then; on_failure and on_end follow only once.
-- Returns how many members run again, and the id of the last part (null: no part is left). Raises PQ540 if there is no such batch.
-- Locks what retry_nodes() locks.
create or replace function pgqueue.retry_members(batch bigint, after bigint, count integer, out retried integer, out last bigint)
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
declare
    ids    bigint[];
    parts  bigint[] := '{}';
    failed bigint := 0;
    part   record;
begin
    if not exists (select from pgqueue.workflows w where w.id = batch and w.kind = 'batch') then
        raise exception using errcode = 'PQ540', message = format('pgqueue: there is no batch %s', coalesce(batch::text, 'null'));
    end if;
    for part in
        select p.id, p.failed from pgqueue.nodes p
        where p.workflow_id = batch and p.members is not null and p.failed > 0 and p.id > after order by p.id
    loop
        failed := failed + part.failed;
        exit when failed > count and last is not null;
        last := part.id;
        parts := parts || last;
    end loop;
    ids := array(
        select m.id
        from unnest(parts) p (id)
        cross join lateral (
            select n.id from pgqueue.dependencies d
            cross join lateral (select n.id, n.state from pgqueue.nodes n where n.id = d.on_id offset 0) n
            where d.node_id = p.id and n.state in ('dead', 'cancelled')) m
        where exists (select from pgqueue.jobs j where j.id = m.id and j.state in ('dead', 'cancelled')));
    retried := cardinality(ids);
    if retried > 0 then
        perform pgqueue.retry_nodes(batch, ids);
    end if;
end
$function$;
