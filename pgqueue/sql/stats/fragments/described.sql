-- The columns of a row of sums for people: the counts, then mean, p50, p95 and p99 of the times, in seconds.
j.started, j.completed, j.retried, j.dead, j.cancelled, j.put_back, j.crashed,
j.wait_seconds / nullif(j.started, 0), w.found[1], w.found[2], w.found[3],
j.run_seconds / nullif((select sum(b.n) from unnest(j.runs) b (n)), 0)::float8, r.found[1], r.found[2], r.found[3]
