-- Stores a batch in the caller's transaction: jobs that are counted together, and jobs that follow when all of them have ended:
--   select * from pgqueue.enqueue_batch('{"name": "import", "jobs": [{"task": "shop.row", "each": [{"line": 1}, {"line": 2}]}],
--                                        "on_success": {"task": "shop.tell", "args": {"text": "done"}}}')
-- `batch` has: name; key (only one batch or workflow of this name can have it); meta;
--   jobs: the first members, as items of enqueue_many, but without keys that must be unique;
--   at_once: at most so many members run at the same time. They share the concurrency key pgqueue.batch.<id>, which has a limit;
--   on_success, on_failure, on_end: an item each. A job is stored for it when all members have ended: for on_success if all completed, for
--     on_failure if one did not, for on_end in either case;
--   open: true leaves the batch open, so that add_to_batch() can add more members. Without it the batch is sealed at once (seal_batch()).
-- Returns (id, created, job_ids). If there is a batch with the key, returns its id, with created = false, and stores nothing.
-- A batch is a row of workflows, so that cancel_workflow() and retry_workflow() take it, too. Its parts are gates of up to 1,000 members.
-- The batch itself is no node: ids of nodes ascend along each edge, and members can come later than everything that is stored now. The
-- follow-up jobs are stored when the batch ends (end_batch()).
-- Runs as the owner, as enqueue_workflow() does. Locks the batch's key.
create or replace function pgqueue.enqueue_batch(batch jsonb, out id bigint, out created boolean, out job_ids bigint[])
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
begin
    perform pgqueue.check_batch(batch);
    insert into pgqueue.workflows as w (name, key, kind, at_once, follow_ups, meta)
    values (batch ->> 'name', batch ->> 'key', 'batch', (batch ->> 'at_once')::integer,
            (select jsonb_object_agg(f.name, f.body) from jsonb_each(batch) f (name, body)
             where f.name in ('on_success', 'on_failure', 'on_end') and f.body <> 'null'),
            coalesce(batch -> 'meta', '{}'))
    on conflict (name, key) where key is not null do nothing
    returning w.id into enqueue_batch.id;
    created := found;
    if not created then
        select w.id into enqueue_batch.id from pgqueue.workflows w where w.name = batch ->> 'name' and w.key = batch ->> 'key';
        return;
    end if;
    if batch ->> 'at_once' is not null then
        insert into pgqueue.limits (per_key, key, concurrency)
        values (true, 'pgqueue.batch.' || enqueue_batch.id, (batch ->> 'at_once')::integer);
    end if;
    job_ids := pgqueue.add_to_batch(enqueue_batch.id, coalesce(batch -> 'jobs', '[]'));
    if batch -> 'open' is distinct from 'true' then
        perform pgqueue.seal_batch(enqueue_batch.id);
    end if;
end
$function$;
