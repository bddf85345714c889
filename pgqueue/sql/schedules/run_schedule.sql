-- Runs a schedule now, by the SQL API (functions/run_schedule.sql). Returns the job's id; null: there is no such schedule.
select pgqueue.run_schedule(%(name)s::text)
