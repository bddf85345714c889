-- Finds the workers that live, the smallest id first. It is for `pgq migrate`, when a revision refuses to run beside them. So it works on the
-- tables of every revision.
-- Returns the id, host and process of each, and when its lease ends if it does not renew the lease. Locks nothing. The table has a row for
-- each worker, so it needs no index. Zero rows: no worker lives now.
select w.id, w.host, w.pid, w.expires_at
from pgqueue.workers w
where w.state in ('running', 'draining') and w.expires_at > clock_timestamp()
order by w.id
