-- Mutes an alert for a while (functions/mute_alert.sql). Returns until when; null if there is no such alert. Locks its row.
select pgqueue.mute_alert(%(alert)s::bigint, %(seconds)s::float8)
