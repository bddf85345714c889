-- No messages of an alert for a while (functions/mute_alert.sql): until when, null if there is none. Locks its row.
select pgqueue.mute_alert(%(alert)s::bigint, %(seconds)s::float8)
