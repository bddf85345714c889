-- Resolves again at most `count` nodes whose jobs were locked when they were to be released or ended (`unresolved`).
-- Locks the rows of `unresolved` that it takes, skipping locked ones, then what functions/resolve.sql locks. Returns how many rows of
-- `unresolved` it took. 0, the normal case: nothing was left.
with taken as (
    delete from pgqueue.unresolved u
    where u.id = any(array(select o.id from pgqueue.unresolved o order by o.id limit %(count)s::int for update skip locked))
    returning u.node_id
), resolved as (
    select pgqueue.resolve(array_agg(t.node_id), array_agg(null::text), array_agg(null::jsonb), array_agg(null::text)) as released
    from (select distinct t.node_id from taken t) t
    having count(*) > 0
)
select count(*), (select r.released from resolved r) from taken
