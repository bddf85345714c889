-- Asks living workers something: to take no more jobs (quiet), to drain and end (stop), or for their stacks. `workers` null: all workers, at
-- most 100. A notification contains the id of each worker, whose heartbeat then reads the request. If the notification gets lost, the worker
-- reads the request after its next heartbeat. Locks nothing but the new rows.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
-- Zero rows: no such worker lives.
with asked as (
    insert into pgqueue.worker_requests (worker_id, request)
    select w.id, %(request)s::text
    from pgqueue.workers w
    where w.state in ('running', 'draining') and w.expires_at > clock_timestamp()
      and (%(workers)s::bigint[] is null or w.id = any(%(workers)s::bigint[]))
    order by w.id
    limit 100
    returning id, worker_id
)
select a.id, a.worker_id, pgqueue.notify('cancel ' || a.worker_id)
       , pgqueue.note_action(jsonb_build_object(                                                                      --? noted
           'action', %(request)s::text,                                                                               --? noted
           'about', jsonb_build_object('worker', a.worker_id::text)), %(who)s::text::jsonb)                           --? noted
from asked a
