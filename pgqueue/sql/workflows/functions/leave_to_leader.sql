-- Leaves these nodes to the leader, which looks at them again (resolve_again.sql). Without `error`, their jobs were locked.
-- With `error`, the database has refused `what` with this error, because of a trigger or a CHECK of the user. A refused node stays as it is.
-- It does not die, because that would cancel all behind it and undo the workflow, and in most cases the cause is not in the job: a person
-- corrects the trigger, and then the node goes on within two seconds. Until then, `pgq why`, `pgq doctor` and `pgq workflows show` show the
-- error. It goes with the row when the leader tries the node again.
create or replace function pgqueue.leave_to_leader(ids bigint[], what text default null, error text default null)
returns void
language sql
as $function$
    insert into pgqueue.unresolved (node_id, error)
    select i.id, leave_to_leader.what || ': ' || left(leave_to_leader.error, 10000)
    from unnest(leave_to_leader.ids) with ordinality i (id, position)
    order by i.position
$function$;
