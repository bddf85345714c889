-- How many jobs of each queue are due, scheduled, waiting and running, and since when the oldest due job has been due. Queues that no
-- worker has served yet are listed too, although they have no row in pgqueue.queues.
create or replace view pgqueue.queue_depth with (security_invoker) as
    select coalesce(q.name, j.queue) as queue, coalesce(q.paused, false) as paused,
           coalesce(j.due, 0) as due, coalesce(j.scheduled, 0) as scheduled, coalesce(j.waiting, 0) as waiting,
           coalesce(j.running, 0) as running, j.oldest_due
    from pgqueue.queues q
    full join (
        select l.queue,
               count(*) filter (where l.state in ('pending', 'retrying') and l.run_at <= now()) as due,
               count(*) filter (where l.state in ('pending', 'retrying') and l.run_at > now()) as scheduled,
               count(*) filter (where l.state = 'waiting') as waiting,
               count(*) filter (where l.state = 'running') as running,
               min(l.run_at) filter (where l.state in ('pending', 'retrying') and l.run_at <= now()) as oldest_due
        from pgqueue.jobs_live l
        group by l.queue) j on j.queue = q.name
