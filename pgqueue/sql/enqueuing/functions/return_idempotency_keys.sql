-- Corrects the rows that take_idempotency_keys.sql wrote for jobs that were not stored after all. If nothing was stored (`refused`),
-- deletes these rows.
-- If another job has the unique key of such a job, the row gets the id of that other job. `found_ids` has one id for each place.
-- Uses the index idempotency_keys_pkey. Touches only rows that this call of enqueue_many has made or locked, so it never waits.
create or replace function pgqueue.return_idempotency_keys(places integer[], tasks text[], keys text[], new_ids bigint[], found_ids bigint[],
    conflicts text[], refused boolean)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
begin
    for n in 1 .. coalesce(cardinality(places), 0) loop
        if refused then
            delete from pgqueue.idempotency_keys k
            where k.task = tasks[n] and k.key = keys[n] and k.job_id = new_ids[places[n]];
        elsif conflicts[places[n]] = 'unique_key' then
            update pgqueue.idempotency_keys k set job_id = found_ids[places[n]]
            where k.task = tasks[n] and k.key = keys[n] and k.job_id = new_ids[places[n]];
        end if;
    end loop;
end
$function$;
