-- Commits a record of a few bytes that belongs to no table. The commit waits until the record is on disk, as the commit of a job does.
-- A benchmark measures its time. It leaves nothing behind but these bytes in the write-ahead log. Locks nothing. Returns one row.
select pg_logical_emit_message(true, 'pgqueue bench', 'x')::text
