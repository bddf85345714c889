-- Returns up to `most` of the newest events of jobs, not older than `since`: transitions, and completions, which have no transition. They are
-- read from the ends of the tables of their days, without an index, as in recent_failures.sql: in pieces of 64 blocks, at most 1024 blocks of
-- each kind. Locks nothing.
create or replace function pgqueue.recent_events(since timestamptz, most integer)
returns table (at timestamptz, job_id bigint, from_state text, to_state text, reason text, attempt smallint, worker_id bigint, error text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    part   record;
    kind   text := '';
    blocks bigint;
    first  bigint;
    budget bigint;
    left_over integer;
    found_now bigint;
begin
    for part in
        select t.relid::regclass as name, p.parent
        from unnest(array['transitions', 'jobs_done']) p (parent)
        cross join lateral pg_partition_tree(('pgqueue.' || p.parent)::regclass) t
        join pg_class c on c.oid = t.relid
        where t.isleaf
        order by p.parent, c.relname = p.parent || '_default' desc, c.relname desc
    loop
        if part.parent <> kind then
            kind := part.parent;
            budget := 1024;
            left_over := most;
        end if;
        blocks := pg_relation_size(part.name) / current_setting('block_size')::int;
        while blocks > 0 and left_over > 0 and budget > 0 loop
            first := greatest(blocks - 64, 0);
            return query execute format(
                case kind when 'transitions' then
                    'select t.at, t.job_id, t.from_state::text, t.to_state::text, t.reason, t.attempt, t.worker_id, t.error from %s t'
                    ' where t.ctid >= $1 and t.ctid < $2 and t.at >= $3 order by t.at desc limit $4'
                else
                    'select t.finished_at, t.id, ''running'', ''completed'', ''completed'', t.attempt::smallint, t.worker_id, null::text from %s t'
                    ' where t.ctid >= $1 and t.ctid < $2 and t.finished_at >= $3 and t.state = ''completed'' order by t.finished_at desc limit $4'
                end, part.name)
                using format('(%s,0)', first)::tid, format('(%s,0)', blocks)::tid, since, left_over;
            get diagnostics found_now = row_count;
            left_over := left_over - found_now;
            budget := budget - (blocks - first);
            exit when found_now = 0;
            blocks := first;
        end loop;
    end loop;
end
$function$;
