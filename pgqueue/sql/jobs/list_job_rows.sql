-- Lists jobs as list_jobs.sql does, but only with what a row of a list shows, because a job can have 2 MB of documents.
-- Documents are read only to mask their secret values in the other texts. Those that are large together (a compressed one counts eight times)
-- are not read: `unread` is their size in bytes, and null if all were read. If the filter has `args`, all are read.
-- Reads the index on id of each partition backwards until `count` rows match. Locks nothing. Zero rows: no further job matches.
select j.id, j.queue, j.task, case when s.unread is null then pgqueue.text_of(j.args) end, j.state, j.priority, j.run_at, j.attempt, j.max_attempts,
       j.lease_id, j.created_at, j.worker_id, j.tags, pgqueue.time_of(j.started_at), pgqueue.time_of(j.finished_at),
       case when pg_column_size(j.progress) <= 4096 then pgqueue.text_of(j.progress) end,
       case when s.unread is null then pgqueue.text_of(j.result) end, left(j.last_error, 16384),
       case when s.unread is null then pgqueue.text_of(j.meta) end, s.unread::bigint,
       --+ redact j
from pgqueue.jobs j
cross join lateral (
    select case when %(args)s::jsonb is null and sum(d.stored * case when d.method is null then 1 else 8 end) > 16384 then sum(d.stored) end as unread
    from (select pg_column_size(v.document) as stored, pg_column_compression(v.document) as method
          from (values (j.args::jsonb), (j.meta::jsonb), (j.result::jsonb)) v (document)) d
) s
where (%(before)s::bigint is null or j.id < %(before)s::bigint)
  and (%(floor)s::bigint is null or j.id >= %(floor)s::bigint)
  and --+ matching j
order by j.id desc
limit %(count)s::int
