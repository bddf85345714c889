-- Finds what would make a rebuild of an index wait or be useless now: an old snapshot, which keeps dead rows alive, or a lock on jobs_live
-- of the kind that writers take.
-- Returns one text for each holder. The text stays the same only as long as the same holder has the same snapshot or lock.
-- Locks nothing. Zero rows: there is no such holder.
select format('session %%s: %%s', a.pid, a.backend_xmin)
from pg_catalog.pg_stat_activity a
where a.backend_xmin is not null and a.pid <> pg_backend_pid()
  and (a.datname = current_database() or a.datname is null)
union all
select format('lock %%s', l.virtualtransaction)
from pg_catalog.pg_locks l
where l.locktype = 'relation' and l.relation = 'pgqueue.jobs_live'::regclass and l.granted
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
  and l.mode <> 'AccessShareLock' and l.pid is distinct from pg_backend_pid()
union all
select format('prepared transaction %%s', p.gid) from pg_catalog.pg_prepared_xacts p where p.database = current_database()
union all
select format('slot %%s: %%s', s.slot_name, s.xmin) from pg_catalog.pg_replication_slots s where s.xmin is not null
