-- Dead jobs with the reason of their death and the worker that had them last.
create or replace view pgqueue.dead_letters with (security_invoker) as
    select j.id, j.queue, j.task, j.args, j.attempt, j.max_attempts, t.reason, j.last_error,
           j.last_traceback, j.worker_id, w.host, w.pid, j.created_at, j.finished_at
    from pgqueue.jobs_dead j
    left join lateral (select t.reason from pgqueue.transitions t
                       where t.job_id = j.id and t.to_state = 'dead' order by t.at desc limit 1) t on true
    left join pgqueue.workers w on w.id = j.worker_id
