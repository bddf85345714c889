-- Lists the running jobs of this worker that were asked to stop. A worker that holds jobs runs it after each heartbeat, and in between.
-- Expects jobs_live_cancel_idx. Locks nothing. Zero rows: none was.
select j.id from pgqueue.jobs_live j where j.worker_id = %(worker_id)s::bigint and j.cancel_requested
