-- The counts of a row that exists, together with those of an INSERT.
started = j.started + excluded.started, completed = j.completed + excluded.completed, retried = j.retried + excluded.retried,
    dead = j.dead + excluded.dead, cancelled = j.cancelled + excluded.cancelled, put_back = j.put_back + excluded.put_back,
    crashed = j.crashed + excluded.crashed, wait_seconds = j.wait_seconds + excluded.wait_seconds,
    run_seconds = j.run_seconds + excluded.run_seconds, waits = pgqueue.add_histograms(j.waits, excluded.waits),
    runs = pgqueue.add_histograms(j.runs, excluded.runs)
