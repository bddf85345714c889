-- Lists the jobs of an action and its slices, in the order of their ids, those after `after`: first those that it changed (result null), and
-- those that it refused, with the reason. Uses audit_operation_idx. Locks nothing. Zero rows: there are no more.
select x.job_id, min(x.refused)
from (
    select i.job_id, null::text as refused
    from pgqueue.audit a cross join lateral unnest(a.job_ids) i (job_id)
    where a.id = %(audit_id)s::bigint or a.operation = %(audit_id)s::bigint
    union all
    select e.id::bigint, r.key
    from pgqueue.audit a cross join lateral jsonb_each(a.refused) r cross join lateral jsonb_array_elements_text(r.value) e (id)
    where a.id = %(audit_id)s::bigint or a.operation = %(audit_id)s::bigint
) x
where x.job_id > %(after)s::bigint
group by x.job_id
order by x.job_id
limit %(count)s::int
