-- Lists the tables that this transaction has written: how many rows it has inserted, updated and deleted, and the rows as they are now.
-- Reads at most `most_rows` rows of each table, and none of a table that is larger than `most_bytes`, because it must scan the table.
-- `lines` is a JSON array of these rows. `note`: why it is empty: 'large', or the SQLSTATE of the error with which the table was not read.
-- A row belongs to this transaction if it is visible and its xmin is in progress: rows of other open transactions are not visible. Each
-- savepoint has a transaction id of its own. All of them are larger than the id of the transaction, from which age() counts. The id is
-- compared first, because pg_xact_status() fails for an id that lies in the future, such as an old one from before a wraparound.
-- Leaves out pgqueue.checkpoints, because a replay itself writes there (refuse_commit.sql). Locks nothing.
create or replace function pgqueue.list_writes(most_bytes bigint, most_rows int)
returns table (schema_name text, table_name text, inserted bigint, updated bigint, deleted bigint, lines jsonb, note text)
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    mine bigint := pg_current_xact_id()::text::bigint;
    relation oid;
begin
    for relation, schema_name, table_name, inserted, updated, deleted in
        select s.relid, s.schemaname, s.relname, s.n_tup_ins, s.n_tup_upd, s.n_tup_del
        from pg_stat_xact_user_tables s
        where s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0
          and not (s.schemaname = 'pgqueue' and s.relname like 'checkpoints%')
        order by s.schemaname, s.relname
    loop
        lines := '[]';
        note := null;
        if pg_relation_size(relation) > most_bytes then
            note := 'large';
        else
            begin
                execute format(
                    'select coalesce(jsonb_agg(r.line), ''[]'') from (select to_jsonb(t) as line from only %I.%I t'
                    ' where case when age(t.xmin) between -1000000000 and 0'
                    ' then pg_xact_status(($1 - age(t.xmin))::text::xid8) = ''in progress'' end limit $2) r',
                    schema_name, table_name)
                into lines using mine, most_rows;
            exception when others then
                note := sqlstate;
            end;
        end if;
        return next;
    end loop;
end
$function$;
