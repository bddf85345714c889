-- Seals a batch. functions/seal_batch.sql explains it. Returns one row: sealed or ended.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    select pgqueue.seal_batch(%(batch)s::bigint) as said
)
select d.said
       , pgqueue.note_action(jsonb_build_object(                                                                      --? noted
           'action', 'seal_batch',                                                                                    --? noted
           'about', jsonb_build_object('batch', %(batch)s::bigint),                                                   --? noted
           'after', jsonb_build_object('result', d.said)), %(who)s::text::jsonb)                                      --? noted
from done d
