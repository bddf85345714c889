-- Stores one job: `select * from pgqueue.enqueue('send_receipt', '{"order_id": 7}', '{"queue": "mail", "delay": 60}')`.
-- enqueue_many explains the options and the columns of the returned row.
create or replace function pgqueue.enqueue(task text, args jsonb default '{}', options jsonb default '{}',
    out id bigint, out created boolean, out state text, out conflict text, out result jsonb, out error text)
language sql
set search_path = pg_catalog, pg_temp
as $function$
    select m.id, m.created, m.state, m.conflict, m.result, m.error
    from pgqueue.enqueue_many(jsonb_build_array(
        coalesce(options, '{}') || jsonb_build_object('task', task, 'args', coalesce(args, '{}')))) m
$function$;
