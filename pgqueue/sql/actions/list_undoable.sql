-- Lists the rows of an action that can be undone: its own, or those of its slices, the newest first. Uses audit_operation_idx. Locks nothing.
-- Zero rows: nothing of it can be undone, because nothing was changed, all was undone, or its time is over. If jobs were locked during an
-- undo, these can be undone later.
select a.id
from pgqueue.audit a
where (a.id = %(audit_id)s::bigint or a.operation = %(audit_id)s::bigint)
  and a.undo_until > clock_timestamp()
  and (not exists (select from pgqueue.audit n where n.undoes = a.id) or exists (select from pgqueue.undo_rows u where u.audit_id = a.id))
order by a.id desc
