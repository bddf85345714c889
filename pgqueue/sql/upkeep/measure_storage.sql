-- Returns how large jobs_live and its claim index are, how many live and dead rows jobs_live has, and whether autovacuum is allowed to work
-- on it.
-- It is for `pgq doctor`. The counts are the server's estimates. Locks nothing.
select s.n_live_tup, s.n_dead_tup, pg_table_size(s.relid), pg_relation_size('pgqueue.jobs_live_claim_idx'),
       current_setting('autovacuum')::boolean and current_setting('track_counts')::boolean
       and not exists (select from pg_catalog.pg_class c, pg_options_to_table(c.reloptions) o
                       where c.oid = s.relid and o.option_name = 'autovacuum_enabled' and not o.option_value::boolean)
from pg_catalog.pg_stat_all_tables s
where s.relid = 'pgqueue.jobs_live'::regclass
