-- Closes an alert (functions/resolve_alert.sql). Returns true if this call closed it, false if it was closed already, null if there is no
-- such alert. Locks the alert's row.
select pgqueue.resolve_alert(%(alert)s::bigint)
