-- Finds out whether a transaction that copied jobs was committed. `xid` is the id of the transaction, `ids` are ids of its jobs,
-- `began_at` is the time that reserve_ids.sql returned in this transaction.
-- If one of the jobs exists, the transaction was committed. If no job exists, the jobs can also have run without being kept. So in this
-- case pg_xact_status() decides. Its answer "committed" counts only if the server was started before `began_at`: after a failover,
-- another transaction can have the same id.
-- Uses the unique index on id of each partition. Locks nothing.
-- Returns one row: true, false, or null. Null: the transaction still runs, or the server does not know what became of the transaction.
select case when exists (select from pgqueue.jobs j where j.id = any(%(ids)s::bigint[])) then true
            when pg_xact_status(%(xid)s::text::xid8) = 'aborted' then false
            when pg_xact_status(%(xid)s::text::xid8) = 'committed' and pg_postmaster_start_time() < %(began_at)s::timestamptz then true end
