-- Closes an alert (functions/resolve_alert.sql). Returns whether it was open; null if there is no such alert. Locks its row.
select pgqueue.resolve_alert(%(alert)s::bigint)
