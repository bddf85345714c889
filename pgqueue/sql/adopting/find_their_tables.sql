-- Finds the tables of another queue system: all tables with this name that the session can see in the catalog, with their columns.
-- Locks nothing. Zero rows: the system is not installed in this database, or its table has another name.
select n.nspname::text, c.relname::text,
       (select coalesce(json_object_agg(a.attname, format_type(a.atttypid, null)), '{}') from pg_catalog.pg_attribute a
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)::text
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relname = %(name)s::text and c.relkind in ('r', 'p') and n.nspname !~ '^pg_'
      and (%(schema)s::text is null or n.nspname = %(schema)s::text)
order by n.nspname
