-- The next id of the sequence that no unfinished and no dead job has. Ids of completed jobs may come again, because these jobs lie in
-- tables of their own.
-- If the sequence stands behind the tables, each draw moves it on, even if the caller fails. So the loop ends, at the latest in another
-- call.
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
