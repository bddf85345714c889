-- Handles the fire times of many schedules that have come, all in one transaction; see functions/fire_schedule.sql, also for its locks.
-- If one of them fails, none is done.
-- One row for each schedule, in any order: its id, and how many jobs were enqueued. Null: the row was edited meanwhile, or another
-- scheduler is at it. Zero rows: `plans` is empty.
select p.id, pgqueue.fire_schedule(p.id, p.version, p.fires, p.due, p.missed_since, p.passed_over, p.following)
from jsonb_to_recordset(%(plans)s::text::jsonb) as p (
    id bigint, version text, fires timestamptz[], due timestamptz[], missed_since timestamptz, passed_over timestamptz,
    following timestamptz)
