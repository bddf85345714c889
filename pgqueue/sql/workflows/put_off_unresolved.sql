-- Puts rows of `unresolved` behind all others, because the node of at least one of them could not be resolved: gives them new ids.
-- Uses unresolved_pkey. Locks the rows, skipping locked ones. Returns no rows.
with taken as (
    delete from pgqueue.unresolved u
    where u.id = any(array(select o.id from pgqueue.unresolved o where o.id = any(%(ids)s::bigint[]) order by o.id for update skip locked))
    returning u.node_id
)
insert into pgqueue.unresolved (node_id) select distinct t.node_id from taken t
