-- Returns the ids of the jobs that have not ended, out of the last hundred jobs of a schedule. Uses the indexes schedule_runs_job_idx and
-- jobs_live_id_key.
create or replace function pgqueue.unfinished_runs(schedule bigint)
returns bigint[]
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select array(
        select l.job_id
        from (select r.job_id from pgqueue.schedule_runs r
              where r.schedule_id = schedule and r.job_id is not null
              order by r.fire_at desc limit 100) l
        where exists (select from pgqueue.jobs_live j where j.id = l.job_id))
$function$;
