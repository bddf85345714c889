-- Drops the oldest day of jobs_done or transitions that is older than the longest retention of any queue, attached or not.
-- It drops one day a call, so that its locks are short. Call it until it returns no row. It never uses a mass DELETE.
-- Some idempotency keys outlive their jobs. Before the jobs are dropped with their day, these keys store how the jobs ended.
-- `what` is dropped, or locked: another transaction holds the tables (try again later).
-- Locks: the parent, its default partition and the day, exclusively. Waits 25 ms at most for each, and not at all if another transaction
-- holds them for long, because every settle would queue behind it.
--   (DETACH CONCURRENTLY is not possible beside a default partition.)
-- Runs as the owner, so that a worker's role needs no DDL rights.
create or replace function pgqueue.drop_partitions()
returns table (name text, what text, why text)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set lock_timeout = '25ms'
set enable_hashjoin = off  -- there are few such keys, and many jobs
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
