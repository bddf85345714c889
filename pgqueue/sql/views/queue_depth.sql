-- How many jobs of each queue are due, scheduled, waiting and running, and since when the oldest is due.
create or replace view pgqueue.queue_depth as
    select q.name as queue, q.paused,
           count(j.id) filter (where j.state in ('pending', 'retrying') and j.run_at <= now()) as due,
           count(j.id) filter (where j.state in ('pending', 'retrying') and j.run_at > now()) as scheduled,
           count(j.id) filter (where j.state = 'waiting') as waiting,
           count(j.id) filter (where j.state = 'running') as running,
           min(j.run_at) filter (where j.state in ('pending', 'retrying') and j.run_at <= now()) as oldest_due
    from pgqueue.queues q left join pgqueue.jobs_live j on j.queue = q.name
    group by q.name, q.paused
