-- Deals with the fire times of one schedule that have come; see functions/fire_schedule.sql, also for its locks.
-- One row: how many jobs were enqueued; null if the row was edited meanwhile or another scheduler is at it.
select pgqueue.fire_schedule(%(schedule_id)s::bigint, %(version)s::text, %(fires)s::timestamptz[], %(due)s::timestamptz[],
    %(missed_since)s::timestamptz, %(passed_over)s::timestamptz, %(following)s::timestamptz)
