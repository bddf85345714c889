-- Drops the oldest day table of jobs_done or transitions that is older than the longest retention of any queue, whether it is attached or
-- not.
-- It drops one table in each call, so that its locks are short. Call it until it returns no row. It never deletes many rows one by one.
-- Some idempotency keys outlive their jobs. Before a day of jobs is dropped, these keys store how the jobs ended.
-- `what` is dropped, or it is locked if another transaction has locked the tables (try again later).
-- Locks the parent, its default partition and the day table, all exclusively. Waits at most 25 ms for each lock. If another transaction
-- keeps one of them locked for long, does not wait at all, because every write of outcomes would then queue behind this wait.
-- DETACH CONCURRENTLY is not used, because it is not possible if there is a default partition.
-- Runs as the owner, so that a worker's role needs no DDL rights.
create or replace function pgqueue.drop_partitions()
returns table (name text, what text, why text)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set lock_timeout = '25ms'
set enable_hashjoin = off  -- few keys need an update, so one index probe for each is cheaper than reading all jobs
set enable_mergejoin = off
as $function$
#variable_conflict use_column
declare
    oldest record;
begin
    perform set_config('idle_in_transaction_session_timeout', '10s', true);  -- an open transaction would keep the locks
    select d.* into oldest
    from pgqueue.day_tables() d
    where d.day < pgqueue.expired_before(
        (select coalesce(max(q.retention), interval '7 days') from pgqueue.queues q))
    order by d.day, d.parent
    limit 1;
    if not found then
        return;
    end if;
    name := oldest.name;
    what := 'locked';
    begin
        if not pgqueue.is_locked_for_long(array['pgqueue.' || oldest.parent, 'pgqueue.' || oldest.parent || '_default',
                                           'pgqueue.' || oldest.name]::regclass[]) then
            if oldest.parent = 'jobs_done' then
                execute format('update pgqueue.idempotency_keys k set state = j.state, result = j.result, error = j.last_error'
                               ' from pgqueue.%I j where j.id = k.job_id and k.state is null and k.expires_at > clock_timestamp()',
                               oldest.name);
            end if;
            execute format('drop table pgqueue.%I', oldest.name);
            what := 'dropped';
        end if;
    exception
        when lock_not_available then null;
    end;
    return next;
end
$function$;
