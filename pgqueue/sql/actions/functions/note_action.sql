-- Writes one row into pgqueue.audit, in the transaction of the action that it tells of. No other statement writes such a row.
-- `entry` has the columns: action, about, before, after, changed (default: 1), seen, refused, job_ids, operation, is_last, undoes, and
-- can_undo. `who` is an object: actor (the person's name; default: the session's role), source (sql, cli, web, api, tui or mcp; default:
-- sql), undo_for (for how many seconds the action can be undone, up to 30 days; default: 3600), and operation (the row to which this one
-- belongs as a slice, if `entry` does not say it).
-- The column `role` is always the role of the session, and `at` is always the server's clock: an operator has no right to choose them.
-- Returns the id of the row. Locks only the new row.
create or replace function pgqueue.note_action(entry jsonb, who jsonb)
returns bigint
language sql
set search_path = pg_catalog, pg_temp
as $function$
    insert into pgqueue.audit (actor, source, action, about, before, after, changed, seen, refused, job_ids, operation, is_last, undoes, undo_until)
    select left(coalesce(nullif(who ->> 'actor', ''), session_user), 60), coalesce(who ->> 'source', 'sql'), e.action, coalesce(e.about, '{}'),
           e.before, e.after, coalesce(e.changed, 1), coalesce(e.seen, e.changed, 1), nullif(e.refused, '{}'), e.job_ids,
           coalesce(e.operation, (who ->> 'operation')::bigint), coalesce(e.is_last, not coalesce(who ? 'operation', false)), e.undoes,
           case when e.can_undo then clock_timestamp()
               + make_interval(secs => least(greatest(coalesce((who ->> 'undo_for')::float8, 3600), 0), 2592000)) end
    from jsonb_to_record(entry) as e (action text, about jsonb, before jsonb, after jsonb, changed integer, seen integer, refused jsonb,
                                      job_ids bigint[], operation bigint, is_last boolean, undoes bigint, can_undo boolean)
    returning id
$function$;
