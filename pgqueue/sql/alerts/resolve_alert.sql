-- Closes an alert (functions/resolve_alert.sql). Returns true if this call closed it, false if it was closed already, null if there is no
-- such alert. Locks the alert's row.
-- With the lines `noted`, also writes the action of an operator into pgqueue.audit.
with done as (
    select pgqueue.resolve_alert(%(alert)s::bigint) as was_open
)
select d.was_open
       , case when d.was_open then pgqueue.note_action(jsonb_build_object(                                            --? noted
           'action', 'resolve_alert',                                                                                 --? noted
           'about', jsonb_build_object('alert', %(alert)s::bigint)), %(who)s::text::jsonb) end                        --? noted
from done d
