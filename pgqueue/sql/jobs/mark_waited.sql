-- Marks that a program waits for a job's end until `seconds` from now. While the mark is valid, a notification is sent about each job that
-- is finished.
-- The mark is kept in a sequence, as in mark_busy.sql. If several programs wait, the latest of their times is stored.
select setval('pgqueue.waited_until',
              greatest(coalesce(pg_sequence_last_value('pgqueue.waited_until'), 0),
                       (extract(epoch from clock_timestamp()) * 1000 + %(seconds)s::float8 * 1000)::bigint))
