-- Returns up to `most` of the newest transitions with an error, not older than `since`. The newest are found without an index: transitions are
-- appended to the table of their day, so the tables are read from their ends, in pieces of 128 blocks, at most 4096 blocks in all. An index
-- would make each failed attempt cost more. Because of this, the order is not exact where a table has reused the room of deleted rows.
-- Locks nothing.
create or replace function pgqueue.recent_failures(since timestamptz, most integer)
returns table (at timestamptz, job_id bigint, to_state text, error text, traceback text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    part    regclass;
    blocks  bigint;
    first   bigint;
    budget  bigint := 4096;
    found_now bigint;
    newest  timestamptz;
begin
    for part in
        select i.inhrelid::regclass
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'pgqueue.transitions'::regclass
        order by c.relname = 'transitions_default' desc, c.relname desc
    loop
        blocks := pg_relation_size(part) / current_setting('block_size')::int;
        while blocks > 0 and most > 0 and budget > 0 loop
            first := greatest(blocks - 128, 0);
            return query execute format(
                'select t.at, t.job_id, t.to_state::text, t.error, t.traceback from %s t'
                ' where t.ctid >= $1 and t.ctid < $2 and t.error is not null and t.at >= $3 order by t.at desc limit $4', part)
                using format('(%s,0)', first)::tid, format('(%s,0)', blocks)::tid, since, most;
            get diagnostics found_now = row_count;
            most := most - found_now;
            budget := budget - (blocks - first);
            if found_now = 0 then
                execute format('select max(t.at) from %s t where t.ctid >= $1 and t.ctid < $2', part) into newest
                    using format('(%s,0)', first)::tid, format('(%s,0)', blocks)::tid;
                exit when newest < since;
            end if;
            blocks := first;
        end loop;
    end loop;
end
$function$;
