-- Runs members of a batch again that did not complete. functions/retry_members.sql explains it. Returns one row: how many, and the id of
-- the last part.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    select r.retried, r.last from pgqueue.retry_members(%(batch)s::bigint, %(after)s::bigint, %(count)s::int) r
)
select d.retried, d.last
       , case when d.retried > 0 then pgqueue.note_action(jsonb_build_object(                                         --? noted
           'action', 'retry_batch',                                                                                   --? noted
           'about', jsonb_build_object('batch', %(batch)s::bigint),                                                   --? noted
           'changed', d.retried), %(who)s::text::jsonb) end                                                           --? noted
from done d
