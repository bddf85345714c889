-- Lists the tasks that workers have reported, by name, with how many living workers know each task. Locks nothing.
select t.name, t.app, t.options::text, t.keep, t.seen_at,
       (select count(*) from pgqueue.workers w
        where t.name = any(w.tasks) and w.state in ('running', 'draining') and w.expires_at > clock_timestamp()), t.redact::text
from pgqueue.tasks t
where %(name)s::text is null or t.name = %(name)s::text
order by t.name collate "C"
