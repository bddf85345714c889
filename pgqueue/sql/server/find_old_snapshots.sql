-- Finds what keeps vacuum from removing dead rows, the oldest first: a session, a standby (by hot_standby_feedback), a replication slot or
-- a prepared transaction. It is for `pgq doctor`.
-- A session or a prepared transaction counts when it is older than a minute. A slot, a standby, or a session whose times this role is not
-- allowed to see counts when its snapshot is more than 10,000 transactions old.
-- A slot's catalog_xmin keeps back only rows of the system catalogs. Locks nothing. Zero rows: nothing keeps vacuum back.
select h.kind, h.name, h.pid, h.owner, h.application, h.state, extract(epoch from clock_timestamp() - h.since)::float8,
       age(h.xmin), regexp_replace(left(h.query, 60), '[[:space:]]+', ' ', 'g')
from (
    select case a.backend_type when 'walsender' then 'standby' else 'session' end as kind, a.pid::text as name, a.pid,
           a.usename::text as owner, a.application_name as application, a.state, a.backend_xmin as xmin, a.query,
           case a.backend_type when 'walsender' then null else a.xact_start end as since
    from pg_catalog.pg_stat_activity a
    where a.backend_xmin is not null and a.pid <> pg_backend_pid()
      and (a.datname = current_database() or a.datname is null)
    union all
    select 'slot', s.slot_name::text, s.active_pid, null, s.plugin::text,
           case when s.active then 'in use' else 'not in use' end, s.xmin, null, null
    from pg_catalog.pg_replication_slots s where s.xmin is not null
    union all
    select 'catalog slot', s.slot_name::text, s.active_pid, null, s.plugin::text,
           case when s.active then 'in use' else 'not in use' end, s.catalog_xmin, null, null
    from pg_catalog.pg_replication_slots s where s.catalog_xmin is not null and s.xmin is null
    union all
    select 'prepared transaction', p.gid, null, p.owner::text, null, 'prepared', p.transaction, null, p.prepared
    from pg_catalog.pg_prepared_xacts p where p.database = current_database()
) h
where case when h.since is null then age(h.xmin) > 10000 else h.since < clock_timestamp() - interval '1 minute' end
order by h.kind = 'catalog slot', age(h.xmin) desc
limit 3
