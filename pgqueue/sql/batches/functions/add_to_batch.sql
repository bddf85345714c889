-- Adds jobs to a batch, in the caller's transaction: `select pgqueue.add_to_batch(7, '[{"task": "shop.row", "args": {"line": 3}}]')`.
-- `jobs` are items of enqueue_many, but without keys that must be unique. `member` is the id of the member that adds them, if it is one.
-- Returns the ids of the new members, in order. Raises and locks what open_parts() says, and PQ404 for bad jobs.
-- Runs as the owner, as enqueue_workflow() does.
create or replace function pgqueue.add_to_batch(batch bigint, jobs jsonb, member bigint default null)
returns bigint[]
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    opened record;
begin
    if jsonb_typeof(jobs) is distinct from 'array' then
        raise exception using errcode = 'PQ404', message = 'pgqueue: the jobs of a batch are a list of objects';
    end if;
    opened := pgqueue.open_parts(batch, pgqueue.check_members(jobs), member);
    if opened.ids = '{}' then
        return opened.ids;
    end if;
    if opened.key is not null and jsonb_path_exists(jobs, '$[*].concurrency_key ? (@ != null)') then
        raise exception using errcode = 'PQ404',
            message = format('pgqueue: batch %s has at_once, so its jobs have a concurrency_key already, and cannot have another one', batch);
    end if;
    -- `unique` keeps with_declared from adding options about keys, which a member cannot have.
    jobs := (select jsonb_agg(i.body || '{"unique": false}'
                              || case when opened.key is null then '{}' else jsonb_build_object('concurrency_key', opened.key) end
                              order by i.rank)
             from jsonb_array_elements(jobs) with ordinality i (body, rank));
    perform pgqueue.insert_nodes(batch, jobs, opened.ids, array_fill(false, array[cardinality(opened.ids)]), opened.moment);
    return opened.ids;
end
$function$;
