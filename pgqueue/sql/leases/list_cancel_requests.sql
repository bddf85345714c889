-- Lists the running jobs of this worker that were asked to stop. A worker that has jobs runs this statement after each heartbeat, and also
-- between heartbeats.
-- Uses the index jobs_live_cancel_idx. Locks nothing. Zero rows: no job was asked to stop.
select j.id from pgqueue.jobs_live j where j.worker_id = %(worker_id)s::bigint and j.cancel_requested
