-- Mutes an alert for `seconds` (functions/mute_alert.sql). Returns the time until which it is muted; null if there is no such alert. Locks
-- the alert's row.
select pgqueue.mute_alert(%(alert)s::bigint, %(seconds)s::float8)
