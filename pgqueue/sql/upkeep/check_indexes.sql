-- Finds the indexes of jobs_live that need care. Returns (name, fault, bytes, live rows, whether this role is allowed to rebuild the
-- index).
-- The faults are: invalid (a rebuild was interrupted and left this index behind), and outgrown (the index is larger than `floor` bytes, and
-- larger than four times what the live rows need, because it once had many dead entries).
-- The server keeps two counts of live rows, and each of them can be stale. So the larger one is used. Locks nothing. Zero rows: no index
-- needs care.
select c.relname::text, case when i.indisvalid then 'outgrown' else 'invalid' end, pg_relation_size(c.oid), live.rows,
       pg_has_role(c.relowner, 'USAGE')
       or (i.indisvalid and current_setting('server_version_num')::int >= 170000
           -- older servers raise an error for the name MAINTAIN, so they get SELECT
           and has_table_privilege(t.oid, case when current_setting('server_version_num')::int >= 170000
                                               then 'MAINTAIN' else 'SELECT' end))
from pg_catalog.pg_class t
join pg_catalog.pg_index i on i.indrelid = t.oid
join pg_catalog.pg_class c on c.oid = i.indexrelid
left join (values ('jobs_live_claim_idx', 120), ('jobs_live_key_idx', 190), ('jobs_live_id_key', 40)) as entry (name, bytes) on entry.name = c.relname
cross join lateral (select greatest(pg_stat_get_live_tuples(t.oid), t.reltuples, 0)::bigint as rows) live
where t.oid = 'pgqueue.jobs_live'::regclass
  and (not i.indisvalid
       or pg_relation_size(c.oid) > greatest(%(floor)s::bigint, 4 * entry.bytes * live.rows))
order by i.indisvalid, c.relname
