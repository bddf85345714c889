-- Reads how a batch goes. Returns one row with the columns of views/batch_overview.sql. Zero rows: there is no such batch. Locks nothing.
-- Uses nodes_parts_idx: reads one row for each part of the batch.
select b.id, b.name, b.key, b.state, b.jobs, b.unfinished, b.completed, b.failed, b.at_once, b.created_at, b.sealed_at, b.ended_at
from pgqueue.batch_overview b
where b.id = %(batch)s::bigint
