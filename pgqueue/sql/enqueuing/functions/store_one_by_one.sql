-- Stores those jobs of enqueue_many that have a unique key, one after the other in key order. If a job has on_conflict = replace and
-- another job has its key, replaces the values of that other job.
-- This is slow. But it never waits for a key while it holds a key that comes later in key order. Each item of `jobs` is one job. Skips the
-- jobs whose places are true in `left_out`.
-- Returns ids, states and conflicts, changed at the places of jobs whose key another job has. In the returned `left_out`, the places of all
-- jobs that need no more storing are true.
-- Locks unique keys, or the rows of jobs that are replaced, in key order (insert_jobs.sql, replace_job.sql).
create or replace function pgqueue.store_one_by_one(jobs jsonb, new_ids bigint[], moment timestamptz,
    inout ids bigint[], inout states text[], inout conflicts text[], inout left_out boolean[])
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    item   record;
    holder bigint;
    now_is text;
begin
    for item in
        select i.item as number, i.on_conflict, jobs -> i.item - 1 as body
        from pgqueue.job_items(jobs, left_out, moment) i
        where i.unique_key is not null
        order by i.task collate "C", i.unique_key collate "C", i.item
    loop
        left_out[item.number] := true;
        for rounds in 1 .. 100 loop
            select s.holders[1], s.states[1] into holder, now_is
            from pgqueue.insert_jobs(jsonb_build_array(item.body), array[new_ids[item.number]], null, moment, 'alone') s;
            exit when holder is null;
            if item.on_conflict = 'replace' then
                now_is := pgqueue.replace_job(holder, item.body, moment);
                if now_is is null then  -- a worker has or had the holder, or the holder is overdue. So the key can be free now
                    select case when j.state in ('pending', 'retrying') and exists (select from pgqueue.checkpoints c where c.job_id = j.id)
                                     and not pgqueue.is_overdue(j.state, j.expires_at, j.deadline_at, j.cancel_requested, moment)
                                then 'running' else j.state end into now_is
                    from pgqueue.jobs_live j where j.id = holder;
                    if rounds = 100 and now_is is distinct from 'running' then
                        raise insufficient_privilege using
                            message = format('pgqueue: job %s holds the unique key, and row level security does not let this role replace it', holder);
                    end if;
                    continue when now_is is null or now_is in ('pending', 'retrying');
                end if;
            end if;
            ids[item.number] := holder;
            states[item.number] := now_is;
            conflicts[item.number] := case item.on_conflict when 'raise' then 'duplicate' else 'unique_key' end;
            exit;
        end loop;
    end loop;
end
$function$;
