-- Counts again, from the jobs that run, how much of each seat is taken, and corrects the stored number. Also deletes seats that hold no
-- information any more, starts that are in no window any more, and pauses that are over.
-- The stored numbers should never be wrong. Returns the seats whose number was wrong: (limit_id, key, stored number, correct number).
-- Locks all seats in the order of (limit_id, key). So claims of jobs under limits, and writes of the outcomes of such jobs, wait for some
-- milliseconds.
create or replace function pgqueue.recount_seats()
returns table (limit_id integer, key text, counted integer, correct integer)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '5s'
as $function$
#variable_conflict use_column
begin
    perform set_config('idle_in_transaction_session_timeout', '10s', true);  -- an open transaction would keep the locks
    perform from pgqueue.seats s order by s.limit_id, s.key for update;
    return query
        with running as materialized (
            select h.limit_id, case when h.limit_id = 0 then j.queue || ' ' || j.concurrency_key when l.per_key then j.concurrency_key::text else '' end as key,
                   least(sum(h.weight), 1000000000)::integer as correct
            from pgqueue.jobs_live j
            cross join lateral (select j.seats_taken[i] as limit_id, j.seats_taken[i + 1] as weight
                                from generate_series(1, cardinality(j.seats_taken), 2) i) h
            left join pgqueue.limits l on l.id = h.limit_id
            where (l.id is not null or h.limit_id = 0) and j.worker_id is not null and j.state = 'running' and j.seats_taken is not null
            group by 1, 2
        ), wrong as (
            select s.limit_id, s.key, s.taken, coalesce(r.correct, 0) as correct
            from pgqueue.seats s left join running r using (limit_id, key)
            where s.taken <> coalesce(r.correct, 0)
              and (s.limit_id = 0 or exists (select from pgqueue.limits l where l.id = s.limit_id))
        ), mended as (
            update pgqueue.seats s set taken = w.correct from wrong w where s.limit_id = w.limit_id and s.key = w.key
        )
        select w.limit_id, w.key, w.taken, w.correct from wrong w;
    -- If a job still needs more than one seat, take_seats() writes `wanted` again at the next claim.
    update pgqueue.seats s set wanted = 1 where s.wanted > 1;
    delete from pgqueue.starts t
    where not exists (select from pgqueue.limits l where l.id = t.limit_id and t.at > clock_timestamp() - l.period);
    delete from pgqueue.pauses p where p.until < clock_timestamp();
    delete from pgqueue.seats s
    where s.taken = 0 and coalesce(s.free_at, '-infinity') < clock_timestamp() and coalesce(s.full_at, '-infinity') < clock_timestamp()
      or (s.limit_id <> 0 and not exists (select from pgqueue.limits l where l.id = s.limit_id));
end
$function$;
