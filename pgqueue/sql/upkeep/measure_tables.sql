-- Lists the tables of pgqueue with their sizes and with what vacuum has done. The partitions of one table count together: `days` is how many
-- there are. The numbers of rows are the server's estimates. Locks nothing.
select case when t.relname ~ '^jobs_done_' then 'jobs_done' when t.relname ~ '^transitions_' then 'transitions' else t.relname::text end as name,
       count(*), sum(pg_table_size(t.relid))::bigint, sum(pg_indexes_size(t.relid))::bigint, sum(t.n_live_tup)::bigint, sum(t.n_dead_tup)::bigint,
       max(greatest(t.last_vacuum, t.last_autovacuum)), max(greatest(t.last_analyze, t.last_autoanalyze))
from pg_catalog.pg_stat_all_tables t
join pg_catalog.pg_class c on c.oid = t.relid
where t.schemaname = 'pgqueue' and c.relkind = 'r'
group by 1
order by 3 desc, 1
