-- Wakes a worker for the new job. The line `wake_now` does this always, the lines `wake_soon` only if the job is due within a second.
, pgqueue.wake(j.queue)::text                                                    --? wake_now
, case when j.run_at operator(pg_catalog.<=)                                     --? wake_soon
          (pg_catalog.statement_timestamp() operator(pg_catalog.+) interval '1 second') --? wake_soon
      then pgqueue.wake(j.queue)::text end                                       --? wake_soon
