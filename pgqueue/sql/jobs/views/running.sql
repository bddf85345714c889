-- Jobs that run now, with the worker that holds their lease and how far they have come.
create or replace view pgqueue.running with (security_invoker) as
    select j.id, j.queue, j.task, j.args, j.priority, j.attempt, j.max_attempts, j.started_at,
           j.lease_id, j.worker_id, w.host, w.pid, w.heartbeat_at, w.expires_at as lease_until, j.progress, w.app_version, j.version
    from pgqueue.jobs_live j left join pgqueue.workers w on w.id = j.worker_id
    where j.state = 'running'
