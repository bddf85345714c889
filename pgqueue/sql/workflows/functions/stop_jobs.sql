-- Cancels jobs that do not run, as end_jobs() does, and asks the workers of the others to stop them.
-- Only cancel_nodes() calls it, with the jobs locked.
create or replace function pgqueue.stop_jobs(ids bigint[], reason text)
returns void
language plpgsql
as $function$
declare
    workers bigint[];
begin
    with asked as (
        update pgqueue.jobs_live j set cancel_requested = true where j.id = any(ids) and j.state = 'running' and not j.cancel_requested
        returning j.worker_id
    )
    select array_agg(distinct a.worker_id) into workers from asked a;
    perform pgqueue.notify('cancel ' || w.id) from unnest(workers) w (id);
    perform pgqueue.end_jobs(ids, 'cancelled', reason);
end
$function$;
