-- Deletes over-age rows from `count` blocks of one table, beginning with block `first`. The table is a day table of jobs_done, if some
-- queues keep their jobs for a shorter time than the longest retention. Or it is a default partition, which is never dropped.
-- Some idempotency keys outlive their jobs. When such a job is deleted, its key stores how the job ended.
-- Returns the number of the next block, or null at the end of the table. Runs as the owner. Finds rows by block and not by an index,
-- because such an index would make every finished job cost more.
create or replace function pgqueue.purge_jobs(child text, first bigint, count integer)
returns bigint
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set lock_timeout = '5s'
set enable_hashjoin = off
set enable_mergejoin = off
set enable_seqscan = off  -- keys are found by idempotency_keys_job_id_idx
as $function$
declare
    longest date := pgqueue.expired_before((select coalesce(max(q.retention), interval '7 days') from pgqueue.queues q));
    expired jsonb := (select jsonb_object_agg(q.name, pgqueue.expired_before(q.retention)) from pgqueue.queues q);
    partition regclass;
begin
    if count not between 1 and 10000 or first < 0 then
        raise exception using errcode = 'PQ404', message = 'pgqueue: first must be at least 0, and count must be from 1 to 10000 blocks';
    end if;
    perform set_config('idle_in_transaction_session_timeout', '10s', true);  -- an open transaction would keep the locks
    select i.inhrelid into partition
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent in ('pgqueue.jobs_done'::regclass, 'pgqueue.transitions'::regclass) and c.relname = child;
    if not found or first * current_setting('block_size')::int >= pg_relation_size(partition) then
        return null;
    end if;
    if child like 'transitions%' then
        execute format('delete from %s t where t.ctid >= $1 and t.ctid < $2 and t.at < $3', partition)
            using format('(%s,0)', first)::tid, format('(%s,0)', first + count)::tid, longest;
    else
        execute format('with gone as ('
                       'delete from %s j where j.ctid >= $1 and j.ctid < $2'
                       ' and j.finished_at < coalesce(($4 ->> j.queue)::date, $3)'
                       ' returning j.id, j.state, j.result, j.last_error)'
                       ' update pgqueue.idempotency_keys k set state = g.state, result = g.result, error = g.last_error'
                       ' from gone g where k.job_id = g.id and k.state is null and k.expires_at > clock_timestamp()', partition)
            using format('(%s,0)', first)::tid, format('(%s,0)', first + count)::tid, longest, expired;
    end if;
    return first + count;
end
$function$;
