-- The rows of pgqueue.stats_totals in a time that answer a question about all tasks or about all queues, or else the rows of pgqueue.stats.
-- One of the two branches is not executed, because its condition has only parameters. Uses stats_totals_pkey or stats_pkey.
(
    select t.at, t.queue::text as queue, t.task::text as task, t.started, t.completed, t.retried, t.dead, t.cancelled, t.put_back, t.crashed,
           t.wait_seconds, t.run_seconds, t.waits, t.runs
    from pgqueue.stats t
    where (%(by_queue)s::boolean or %(queue)s::text is not null) and (%(by_task)s::boolean or %(task)s::text is not null)
      and t.seconds in (60, 3600) and t.at >= %(since)s::timestamptz and t.at < %(until)s::timestamptz
      and (%(queue)s::text is null or t.queue = %(queue)s::text) and (%(task)s::text is null or t.task = %(task)s::text)
    union all
    select t.at, t.queue, t.task, t.started, t.completed, t.retried, t.dead, t.cancelled, t.put_back, t.crashed,
           t.wait_seconds, t.run_seconds, t.waits, t.runs
    from pgqueue.stats_totals t
    where not ((%(by_queue)s::boolean or %(queue)s::text is not null) and (%(by_task)s::boolean or %(task)s::text is not null))
      and t.seconds in (60, 900, 3600) and t.at >= %(since)s::timestamptz and t.at < %(until)s::timestamptz
      and case when %(queue)s::text is not null then t.queue = %(queue)s::text when %(by_queue)s::boolean then t.queue <> '' else t.queue = '' end
      and case when %(task)s::text is not null then t.task = %(task)s::text when %(by_task)s::boolean then t.task <> '' else t.task = '' end
)
