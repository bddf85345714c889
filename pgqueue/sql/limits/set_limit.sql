-- Makes a limit, or changes the limit of the same scope (queue, task, by key or not, key, sliding or not). A value that is not given stays
-- as it was. There is one exception: a new rate also replaces the burst.
-- Claims respect the new values immediately. Locks the limit's row. Returns one row: the limit's id.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    insert into pgqueue.limits as l (queue, task, per_key, key, concurrency, rate, period, sliding, burst, share)
    values (%(queue)s::text, %(task)s::text, %(per_key)s::boolean, %(key)s::text, %(concurrency)s::int, %(rate)s::int,
            make_interval(secs => %(period)s::float8), %(sliding)s::boolean, %(burst)s::int, %(share)s::int)
    on conflict on constraint limits_scope_key do update
    set concurrency = coalesce(excluded.concurrency, l.concurrency), share = coalesce(excluded.share, l.share),
        rate = coalesce(excluded.rate, l.rate), period = coalesce(excluded.period, l.period),
        burst = case when excluded.rate is null then l.burst else excluded.burst end
    returning l.*
)
select d.id
       , pgqueue.note_action(jsonb_build_object(                                                                      --? noted
           'action', 'set_limit',                                                                                     --? noted
           'about', jsonb_build_object('limit', d.id, 'queue', d.queue, 'task', d.task, 'key', d.key),                --? noted
           'before', (select to_jsonb(f) from pgqueue.limits f where f.id = d.id),                                    --? noted
           'after', to_jsonb(d),                                                                                      --? noted
           'can_undo', true), %(who)s::text::jsonb)                                                                   --? noted
from done d
