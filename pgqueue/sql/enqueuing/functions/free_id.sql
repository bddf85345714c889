-- Returns the next id of the sequence that no unfinished and no dead job has. A completed or cancelled job can have the same id, because
-- these jobs are in tables of their own.
-- If the sequence is behind the ids in the tables, each call of nextval moves it on, even if the caller's transaction fails. So the loop
-- ends, in this call or in a later one.
create or replace function pgqueue.free_id()
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $function$
declare
    drawn bigint;
begin
    loop
        drawn := nextval('pgqueue.jobs_id_seq');
        exit when not exists (select from pgqueue.jobs_live j where j.id = drawn)
              and not exists (select from pgqueue.jobs_dead d where d.id = drawn);
    end loop;
    return drawn;
end
$function$;
