-- Finds out whether a transaction that stored a workflow was committed. `xid` is the id of the transaction, `workflow_id` is the id of the
-- workflow, `began_at` is the time that enqueue_workflow.sql returned in this transaction.
-- If the workflow exists, the transaction was committed. If not, pg_xact_status() decides, as in find_copied.sql.
-- Uses workflows_pkey. Locks nothing. Returns one row: true, false, or null. Null: the transaction still runs, or the server does not know
-- what became of it.
select case when exists (select from pgqueue.workflows w where w.id = %(workflow_id)s::bigint) then true
            when pg_xact_status(%(xid)s::text::xid8) = 'aborted' then false
            when pg_xact_status(%(xid)s::text::xid8) = 'committed' and pg_postmaster_start_time() < %(began_at)s::timestamptz then true end
