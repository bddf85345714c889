-- Mutes an alert for `seconds` (functions/mute_alert.sql). Returns the time until which it is muted; null if there is no such alert. Locks
-- the alert's row.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    select pgqueue.mute_alert(%(alert)s::bigint, %(seconds)s::float8) as until
)
select d.until
       , case when d.until is not null then pgqueue.note_action(jsonb_build_object(                                   --? noted
           'action', 'mute_alert',                                                                                    --? noted
           'about', jsonb_build_object('alert', %(alert)s::bigint),                                                   --? noted
           'after', jsonb_build_object('until', d.until)), %(who)s::text::jsonb) end                                  --? noted
from done d
