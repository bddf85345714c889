-- Removes a queue if it has no unfinished job and no dead job, and if no living worker has its name in its list of queues. Locks the
-- queue's row.
-- Returns one row: how many jobs and how many living workers keep the queue from being removed, and whether the queue had a row.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with kept as (
    select (select count(*) from pgqueue.jobs_live j where j.queue = %(queue)s::text)
           + (select count(*) from pgqueue.jobs_dead j where j.queue = %(queue)s::text) as jobs,
           (select count(*) from pgqueue.workers w where %(queue)s::text = any(w.queues)
            and w.state in ('running', 'draining') and w.expires_at > clock_timestamp()) as workers
), gone as (
    delete from pgqueue.queues q using kept k
    where q.name = %(queue)s::text and k.jobs = 0 and k.workers = 0
    returning q.*
)
select k.jobs, k.workers, exists (select from pgqueue.queues q where q.name = %(queue)s::text)
       , case when g.id is not null then pgqueue.note_action(jsonb_build_object(                                      --? noted
           'action', 'remove_queue',                                                                                  --? noted
           'about', jsonb_build_object('queue', %(queue)s::text),                                                     --? noted
           'before', to_jsonb(g)), %(who)s::text::jsonb) end                                                          --? noted
from kept k
left join gone g on true
