-- Checks the deferred constraints of the tables that this transaction has written, as a COMMIT would. A replay calls it at the end of each
-- block of the handler, because it never commits. Raises the error of the first constraint that does not hold.
-- A constraint that is deferred at first is deferred again afterwards. Leaves out the trigger that refuses the COMMIT of a replay
-- (refuse_commit.sql). Runs the deferred triggers of users. Locks what they lock.
create or replace function pgqueue.check_deferred()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    known record;
begin
    for known in
        with written as materialized (
            select s.relid from pg_stat_xact_user_tables s where s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0
        )
        select n.nspname as home, c.conname as name, bool_or(c.condeferred) as is_deferred
        from pg_constraint c join pg_namespace n on n.oid = c.connamespace
        where c.condeferrable and (c.conrelid in (select w.relid from written w) or c.confrelid in (select w.relid from written w))
          and not (n.nspname = 'pgqueue' and c.conname = 'checkpoints_fence_trigger')
        group by n.nspname, c.conname
        order by n.nspname, c.conname
    loop
        execute format('set constraints %I.%I immediate', known.home, known.name);
        if known.is_deferred then
            execute format('set constraints %I.%I deferred', known.home, known.name);
        end if;
    end loop;
end
$function$;
