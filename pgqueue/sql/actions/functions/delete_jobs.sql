-- Deletes jobs that do not run, with all that is stored about them: transitions, checkpoints, signals and idempotency keys. If `kept` is
-- true, returns all of these rows for an undo, in the order of `wanted`. Otherwise returns nulls, and also deletes what was kept for the undo of
-- earlier actions on these jobs, so that nothing of them is left except their ids in pgqueue.audit.
-- Leaves out jobs that run, and nodes of workflows. The caller has locked the jobs. Runs as the owner, so that an operator can erase a job, but
-- cannot delete from the history of other jobs. Uses the index on the job's id of each table.
create or replace function pgqueue.delete_jobs(wanted bigint[], kept boolean)
returns jsonb[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
declare
    ids     bigint[];
    befores jsonb[];
begin
    if coalesce(cardinality(wanted), 0) > 1000 then
        raise exception using errcode = 'PQ404', message = 'pgqueue: give at most 1000 ids';
    end if;
    ids := array(select w.id from unnest(wanted) with ordinality w (id, place)
                 where not exists (select from pgqueue.jobs j where j.id = w.id and (j.state = 'running' or j.workflow_id is not null))
                 order by w.place);
    if kept then
        select array_agg(jsonb_build_object(
                   'job', (select to_jsonb(j) from pgqueue.jobs j where j.id = i.id),
                   'transitions', (select coalesce(jsonb_agg(t), '[]') from pgqueue.transitions t where t.job_id = i.id),
                   'checkpoints', (select coalesce(jsonb_agg(c), '[]') from pgqueue.checkpoints c where c.job_id = i.id),
                   'signals', (select coalesce(jsonb_agg(s order by s.id), '[]') from pgqueue.signals s where s.job_id = i.id),
                   'keys', (select coalesce(jsonb_agg(k), '[]') from pgqueue.idempotency_keys k where k.job_id = i.id)) order by i.place)
        into befores
        from unnest(ids) with ordinality i (id, place);
    else
        befores := array_fill(null::jsonb, array[cardinality(ids)]);
        delete from pgqueue.undo_rows u where u.job_id = any(ids);
    end if;
    delete from pgqueue.transitions t where t.job_id = any(ids);
    delete from pgqueue.checkpoints c where c.job_id = any(ids);
    delete from pgqueue.signals s where s.job_id = any(ids);
    delete from pgqueue.idempotency_keys k where k.job_id = any(ids);
    delete from pgqueue.jobs j where j.id = any(ids);
    perform pgqueue.notify('');  -- a dead job with an ordering holds up the jobs behind it
    return befores;
end
$function$;
