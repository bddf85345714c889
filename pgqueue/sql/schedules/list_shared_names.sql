-- Finds names that more than one app with running workers has: two sets of schedules have the same app name, but their code has no task in
-- common. It is for `pgq doctor`.
-- Locks nothing. Zero rows, the normal case: there are no such names.
select distinct a.app
from pgqueue.schedule_sets a
join pgqueue.schedule_sets b on b.app = a.app and b.fingerprint > a.fingerprint and not b.tasks && a.tasks
where least(a.expires_at, b.expires_at) > clock_timestamp() and a.tasks <> '{}' and b.tasks <> '{}'
order by 1
