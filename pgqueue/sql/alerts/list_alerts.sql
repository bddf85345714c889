-- Lists the open alerts, and if `resolved` is true also the resolved ones, the newest first. Locks nothing. Zero rows: there are no such
-- alerts.
select a.id, a.kind, a.subject, a.queue, a.job_id, a.count, a.first_at, a.last_at, a.resolved_at,
       case when a.muted_until > clock_timestamp() then a.muted_until end, a.messages, a.sent_at, a.text
from pgqueue.alerts a
where a.resolved_at is null or %(resolved)s::boolean
order by a.id desc
limit %(count)s::int
