-- Deletes what undos can no longer need, and audit rows that are older than `keep` seconds, at most `count` rows of each. Only the leader
-- deletes these rows. Looks only at audit rows that are at least as new as the oldest row of undo_rows.
-- Uses the primary keys, and audit_at_idx. Returns how many rows of each kind it deleted.
with undos as (
    delete from pgqueue.undo_rows u
    where u.ctid = any(array(
        select o.ctid
        from pgqueue.audit a join pgqueue.undo_rows o on o.audit_id = a.id
        where a.id >= (select min(f.audit_id) from pgqueue.undo_rows f) and a.undo_until < clock_timestamp()
        limit %(count)s::int))
    returning 1
), rows as (
    delete from pgqueue.audit a
    where a.id = any(array(
        select o.id from pgqueue.audit o
        where o.at < clock_timestamp() - make_interval(secs => %(keep)s::float8)
        order by o.at limit %(count)s::int))
    returning 1
)
select (select count(*) from undos), (select count(*) from rows)
