-- Finds out whether a transaction that has copied jobs was committed. `xid` is its id, `ids` are ids of its jobs, `began_at` is its time.
-- If one of the jobs is there, it was. If none is there, the jobs can also have run without being kept. Then the server's word about the
-- transaction counts, unless the server was started later: after a failover, another transaction can have the same id.
-- Uses the unique index on id of each partition. Locks nothing.
-- Returns one row: true, false, or null if the transaction still runs or nothing is known of it.
select case when exists (select from pgqueue.jobs j where j.id = any(%(ids)s::bigint[])) then true
            when pg_xact_status(%(xid)s::text::xid8) = 'aborted' then false
            when pg_xact_status(%(xid)s::text::xid8) = 'committed' and pg_postmaster_start_time() < %(began_at)s::timestamptz then true end
