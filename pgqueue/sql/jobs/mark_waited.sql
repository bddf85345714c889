-- Says that a program waits for a job's end until `seconds` from now, so that settling announces which jobs it finished.
-- The mark is a sequence, as in mark_busy.sql. The later end wins.
select setval('pgqueue.waited_until',
              greatest(coalesce(pg_sequence_last_value('pgqueue.waited_until'), 0),
                       (extract(epoch from clock_timestamp()) * 1000 + %(seconds)s::float8 * 1000)::bigint))
