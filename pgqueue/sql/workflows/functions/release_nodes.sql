-- Makes the waiting jobs of these nodes pending, with the results that their arguments take from other nodes, and wakes their queues.
-- Leaves out jobs that have run and wait for a signal now, and the jobs of a workflow that is being stopped, except those that undo it:
-- finish_workflow.sql ends them.
-- Never waits for the row of a job. If another transaction has locked the row, for an edit or a cancel, the node is left to the
-- leader.
-- Only move_nodes() calls it, with the nodes locked. Returns the nodes whose arguments would become too long; null: there are none.
create or replace function pgqueue.release_nodes(ids bigint[])
returns bigint[]
language plpgsql
as $function$
declare
    free   bigint[];
    takes  boolean[];  -- for each of `free`: whether it takes results
    filled jsonb[];
    large  bigint[];
    queues text[];
begin
    select array_agg(j.id), array_agg(j.takes), array_agg(j.filled) into free, takes, filled
    from (
        select l.id, case when n.fills is not null then l.args || pgqueue.node_results(n.fills) end as filled,
               n.fills is not null as takes
        from unnest(ids) i (id)
        cross join lateral (
            select n.fills, n.needs, n.undoes, n.workflow_id from pgqueue.nodes n where n.id = i.id offset 0) n
        cross join lateral (
            select w.stop_reason from pgqueue.workflows w where w.id = n.workflow_id offset 0) w
        cross join lateral (
            select l.id, l.args from pgqueue.jobs_live l where l.id = i.id and l.state = 'waiting' and l.waits_for is null for update skip locked) l
        where num_nulls(w.stop_reason) = 1 or num_nulls(n.undoes) = 0 or w.stop_reason = 'workflow_failed' and n.needs <> 'completed'
    ) j;
    if coalesce(cardinality(free), 0) < cardinality(ids) then
        perform pgqueue.leave_to_leader(array(
            select l.id from unnest(ids) i (id)
            cross join lateral (select l.id from pgqueue.jobs_live l where l.id = i.id and l.state = 'waiting' and l.waits_for is null offset 0) l
            where l.id <> all(coalesce(free, '{}'))));
    end if;
    with sized as materialized (
        select f.id, f.args, f.args is null and f.takes or not pgqueue.fits_as_args(f.args) as is_large
        from unnest(free, takes, filled) f (id, takes, args)
    ), gone as (
        update pgqueue.jobs_live j
        set state = 'pending', run_at = greatest(j.run_at, clock_timestamp()), args = coalesce(s.args, j.args)
        from (select s.id, s.args from sized s where s.is_large is not true) s
        where j.id = s.id
        returning j.id, j.queue, j.run_at, j.lease_id, j.attempt
    ), noted as (
        insert into pgqueue.transitions (job_id, lease_id, run_at, attempt, from_state, to_state, reason)
        select g.id, g.lease_id, g.run_at, g.attempt, 'waiting', 'pending', 'released' from gone g
    )
    select (select array_agg(s.id order by s.id) from sized s where s.is_large),
           (select array_agg(distinct g.queue::text) from gone g where g.run_at <= clock_timestamp() + interval '1 second')
    into large, queues;
    perform pgqueue.wake(q.queue) from unnest(queues) q (queue);
    return large;
end
$function$;
