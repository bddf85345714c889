-- Says that somebody waits for a job's end until `seconds` from now, so that settling announces what it finished.
-- A sequence as in mark_busy.sql; the later end wins.
select setval('pgqueue.waited_until',
              greatest(coalesce(pg_sequence_last_value('pgqueue.waited_until'), 0),
                       (extract(epoch from clock_timestamp()) * 1000 + %(seconds)s::float8 * 1000)::bigint))
