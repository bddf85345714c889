-- Ends the waiting jobs of these nodes: as cancelled, because of a node that they wait for, or as dead, because the results that they wait
-- for do not fit into their arguments.
-- Leaves out jobs that have run and wait for a signal now, as it leaves out jobs that run.
-- Never waits for the row of a job. If another transaction has locked the row, the node is left to the leader.
-- For dead jobs, stores a job for the hook on_dead if a living worker knows it, as finish_overdue does.
-- Only move_nodes() calls it, with the nodes locked. Returns the nodes whose jobs it ended; null: none.
create or replace function pgqueue.end_nodes(ids bigint[], end_state text)
returns bigint[]
language plpgsql
as $function$
declare
    free bigint[];
begin
    select array_agg(l.id order by l.id) into free
    from unnest(ids) i (id)
    cross join lateral (select l.id from pgqueue.jobs_live l where l.id = i.id and l.state = 'waiting' and l.waits_for is null for update skip locked) l;
    if coalesce(cardinality(free), 0) < cardinality(ids) then
        perform pgqueue.leave_to_leader(array(
            select l.id from unnest(ids) i (id)
            cross join lateral (select l.id from pgqueue.jobs_live l where l.id = i.id and l.state = 'waiting' and l.waits_for is null offset 0) l
            where l.id <> all(coalesce(free, '{}'))));
    end if;
    if free is null then
        return null;
    end if;
    perform pgqueue.end_jobs(free, end_state, null);
    return free;
end
$function$;
