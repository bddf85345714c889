-- The sums of the counts and times of several rows of pgqueue.stats.
sum(j.started)::bigint as started, sum(j.completed)::bigint as completed, sum(j.retried)::bigint as retried, sum(j.dead)::bigint as dead,
sum(j.cancelled)::bigint as cancelled, sum(j.put_back)::bigint as put_back, sum(j.crashed)::bigint as crashed,
sum(j.wait_seconds) as wait_seconds, sum(j.run_seconds) as run_seconds
