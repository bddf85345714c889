-- Puts a row of `unresolved` behind all others, because its node could not be resolved: gives the row another id, and the error.
-- Uses unresolved_pkey. Locks the row, and skips a locked one. Returns the new id.
with taken as (
    delete from pgqueue.unresolved u
    where u.id = (select o.id from pgqueue.unresolved o where o.id = %(unresolved_id)s::bigint for update skip locked)
    returning u.node_id
)
insert into pgqueue.unresolved (node_id, error) select t.node_id, left(%(error)s::text, 10000) from taken t
returning id
