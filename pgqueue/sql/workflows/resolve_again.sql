-- Resolves again the nodes of these rows of `unresolved`, and deletes the rows.
-- Uses unresolved_pkey. Locks the rows, skipping locked ones, then what functions/resolve.sql locks. Returns the ids of the rows that it
-- deleted. Zero rows: another leader has them.
with taken as (
    delete from pgqueue.unresolved u
    where u.id = any(array(select o.id from pgqueue.unresolved o where o.id = any(%(ids)s::bigint[]) order by o.id for update skip locked))
    returning u.id, u.node_id
), resolved as materialized (
    select pgqueue.resolve(array_agg(t.node_id), array_agg(null::text), array_agg(null::jsonb), array_agg(null::text)) as released
    from (select distinct t.node_id from taken t) t
    having count(*) > 0
)
select t.id from taken t cross join resolved r
