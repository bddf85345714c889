-- Runs a schedule now, by the SQL API (functions/run_schedule.sql). The job's id; null: there is no such schedule.
select pgqueue.run_schedule(%(name)s::text)
