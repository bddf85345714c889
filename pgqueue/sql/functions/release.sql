-- Gives back the seats of jobs that ended their attempt, and wakes the workers of their queues: somebody may be waiting for a seat.
-- One element a hold: the limit, the job's concurrency_key or '', the weight, the job's queue. Called by complete.sql, settle.sql and
-- rescue.sql within their own statements, so a seat is free exactly when its holder is not running any more.
-- Locks the seats in the order of (limit_id, key), as seat() does.
create or replace function pgqueue.release(limit_ids integer[], keys text[], weights integer[], queues text[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $function$
begin
    perform from pgqueue.seats s
    where (s.limit_id, s.key) in (
        select h.limit_id, case when l.per_key then h.key else '' end
        from unnest(limit_ids, keys) h(limit_id, key) join pgqueue.limits l on l.id = h.limit_id)
    order by s.limit_id, s.key
    for update;
    update pgqueue.seats s
    set taken = greatest(s.taken - g.weight, 0)
    from (
        select h.limit_id, case when l.per_key then h.key else '' end as key, sum(h.weight)::integer as weight
        from unnest(limit_ids, keys, weights) h(limit_id, key, weight) join pgqueue.limits l on l.id = h.limit_id
        group by 1, 2
    ) g
    where s.limit_id = g.limit_id and s.key = g.key;
    perform pgqueue.wake(q.queue) from (select distinct w.queue from unnest(queues) w(queue)) q;
end
$function$;
