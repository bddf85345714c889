-- Gives back the seats of jobs whose attempt has ended. Wakes the workers of their queues, because another job can need such a seat.
-- The elements of the four arrays belong together. Each describes what one job took of one limit: the limit's id (0: the one seat of a key
-- whose jobs keep their order), the job's concurrency_key or '', the weight, and the job's queue.
-- complete.sql, settle.sql and rescue.sql call this function within their own statements. So a seat becomes free exactly when its job no
-- longer runs.
-- Locks the seats in the order of (limit_id, key), as take_seats() does.
create or replace function pgqueue.give_back_seats(limit_ids integer[], keys text[], weights integer[], queues text[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $function$
declare
    by_key constant integer[] := array(select l.id from pgqueue.limits l where l.per_key);
begin
    select array_agg(h.limit_id), array_agg(h.key), array_agg(h.weight) into limit_ids, keys, weights
    from (
        select h.limit_id, sum(h.weight)::integer as weight,
               case when h.limit_id = 0 then h.queue || ' ' || h.key when h.limit_id = any(by_key) then h.key else '' end as key
        from unnest(limit_ids, keys, weights, queues) h(limit_id, key, weight, queue)
        group by 1, 3 order by 1, 3
    ) h;
    perform from unnest(limit_ids, keys) h(limit_id, key)
    join pgqueue.seats s on s.limit_id = h.limit_id and s.key = h.key
    order by s.limit_id, s.key
    for update of s;
    update pgqueue.seats s
    set taken = greatest(s.taken - g.weight, 0)
    from unnest(limit_ids, keys, weights) g(limit_id, key, weight)
    where s.limit_id = g.limit_id and s.key = g.key;
    perform pgqueue.wake(q.queue) from (select distinct w.queue from unnest(queues) w(queue)) q;
end
$function$;
