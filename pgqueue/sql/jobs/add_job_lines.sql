-- Stores log lines that handlers wrote while they ran. `lines` is a JSON array of objects (job_id, attempt, at in seconds since 1970, level,
-- logger, text), the oldest first. A job of another database that has the same id cannot be meant, because workers write only about jobs
-- that they run. Locks nothing but its new rows. Returns one row: how many lines were stored.
with stored as (
    insert into pgqueue.job_lines (job_id, attempt, at, level, logger, text)
    select l.job_id, l.attempt, to_timestamp(l.at), l.level, l.logger, l.text
    from jsonb_to_recordset(%(lines)s::text::jsonb) as l (job_id bigint, attempt smallint, at float8, level text, logger text, text text)
    returning 1
)
select count(*) from stored
