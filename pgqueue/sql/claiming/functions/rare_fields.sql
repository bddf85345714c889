-- Returns, as JSON, the rare fields of a claimed job: fields that only some jobs have (worker/rare_fields.py). Returns null if the job has
-- none of them. For an expiry and a deadline, returns the seconds that are left: a worker's clock can be wrong, but it counts seconds
-- right.
-- It has no settings of its own, such as a search_path, so the server inlines it into the claim, which calls it for every job. Locks
-- nothing.
create or replace function pgqueue.rare_fields(expires_at timestamptz, deadline_at timestamptz, progress jsonb, unique_key text, tags text[], meta jsonb, stored_by_pgqueue boolean,
    workflow_id bigint, version smallint)
returns text
language sql
volatile
as $function$
    select case when expires_at is not null or deadline_at is not null or progress is not null or unique_key is not null
                     or tags operator(pg_catalog.<>) '{}' or meta operator(pg_catalog.<>) '{}' or stored_by_pgqueue
                     or workflow_id is not null or version is not null
                then pg_catalog.json_build_object('expires', pg_catalog.date_part('epoch', expires_at operator(pg_catalog.-) pg_catalog.clock_timestamp()),
                                       'deadline', pg_catalog.date_part('epoch', deadline_at operator(pg_catalog.-) pg_catalog.clock_timestamp()),
                                       'deadline_at', pg_catalog.date_part('epoch', deadline_at), 'progress', progress::text,
                                       'unique_key', unique_key, 'tags', tags, 'meta', meta::text, 'stored_by_pgqueue', stored_by_pgqueue,
                                       'workflow_id', workflow_id, 'version', version)::text end
$function$;
