-- Handles, for many schedules in one transaction, the fire times that have come. functions/fire_schedule.sql says more, also what it locks.
-- If this fails for one of the schedules, nothing is done for any of them.
-- Returns one row for each schedule, in any order: its id, and how many jobs were enqueued. Null: the row was edited in the meantime, or
-- another scheduler is handling it. Zero rows: `plans` is empty.
select p.id, pgqueue.fire_schedule(p.id, p.version, p.fires, p.due, p.missed_since, p.passed_over, p.following)
from jsonb_to_recordset(%(plans)s::text::jsonb) as p (
    id bigint, version text, fires timestamptz[], due timestamptz[], missed_since timestamptz, passed_over timestamptz,
    following timestamptz)
