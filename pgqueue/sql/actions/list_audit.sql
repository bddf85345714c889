-- Lists actions, the newest first: one row for each action, with the sums over the slices of an operation. Filters that are null filter
-- nothing. `undone`: how many of its changes were undone. `can_undo`: until when something of it can still be undone; null: it cannot.
-- `undoes`: the action, not its slice, that an undo was for.
-- `stopped`: why it stopped before its end. If its last slice is old and nothing was written since, its process was killed.
-- `is_undoing`: an undo with several slices has not ended.
-- Reads the primary key of audit backwards, or audit_job_ids_idx, until `count` rows match; then audit_operation_idx and audit_undoes_idx
-- for each. Locks nothing. Zero rows: no further action matches.
with chosen as materialized (
    select a.*
    from pgqueue.audit a
    where a.operation is null
      and (%(before)s::bigint is null or a.id < %(before)s::bigint)
      and (%(audit_id)s::bigint is null or a.id = %(audit_id)s::bigint)
      and (%(actor)s::text is null or a.actor = %(actor)s::text)
      and (%(action)s::text is null or a.action = %(action)s::text)
      and (%(source)s::text is null or a.source = %(source)s::text)
      and (%(job_id)s::bigint is null
           or a.id in (select coalesce(w.operation, w.id) from pgqueue.audit w where w.job_ids @> array[%(job_id)s::bigint]))
    order by a.id desc
    limit %(count)s::int
)
select c.id, c.at, c.actor, c.role, c.source, c.action, case jsonb_typeof(c.about) when 'object' then c.about::text else '{}' end, c.before::text, c.after::text,
       c.changed + coalesce(b.changed, 0), c.seen + coalesce(b.seen, 0),
       (select jsonb_object_agg(r.word, r.jobs)
        from (select x.key as word, sum(jsonb_array_length(x.value)) as jobs
              from pgqueue.audit w cross join lateral jsonb_each(w.refused) x
              where w.id = c.id or w.operation = c.id group by 1) r)::text,
       c.is_last or coalesce(b.is_last, false), (select coalesce(w.operation, w.id) from pgqueue.audit w where c.action = 'undo' and w.id = coalesce(c.undoes, (c.about ->> 'id')::bigint)),
       coalesce(u.undone, 0), u.last_id,
       (select max(w.undo_until) from pgqueue.audit w
        where (w.id = c.id or w.operation = c.id) and w.undo_until > clock_timestamp()
          and (not exists (select from pgqueue.audit n where n.undoes = w.id)
               or exists (select from pgqueue.undo_rows u where u.audit_id = w.id))),
       coalesce(b.slices, 1),
       coalesce(b.stopped, case when not (c.is_last or coalesce(b.is_last, false)) and coalesce(b.last_at, c.at) < x.old_before
                                then 'the process that did it is gone' end),
       coalesce(u.last_at > x.old_before and exists (
           select from pgqueue.audit n where n.id = u.last_id and not n.is_last
               and not exists (select from pgqueue.audit w where w.operation = n.id and w.is_last)), false)
from chosen c
cross join (select clock_timestamp() - interval '2 minutes' as old_before) x
left join lateral (
    select sum(w.changed)::int as changed, sum(w.seen)::int as seen, bool_or(w.is_last) as is_last, max(w.at) as last_at,
           max(w.about ->> 'stopped') filter (where w.is_last) as stopped,
           count(*) filter (where not w.is_last)::int as slices
    from pgqueue.audit w where w.operation = c.id
    having count(*) > 0
) b on true
left join lateral (
    select sum(n.changed)::int as undone, max(coalesce(n.operation, n.id)) as last_id, max(n.at) as last_at
    from pgqueue.audit w join pgqueue.audit n on n.undoes = w.id
    where w.id = c.id or w.operation = c.id
) u on true
order by c.id desc
