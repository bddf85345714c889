-- Trigger function for a plain INSERT INTO pgqueue.jobs. Refuses jobs whose task has a name that pgqueue keeps for itself.
-- In all other jobs, sets those of the columns queue, max_attempts, priority and timeout that the INSERT left out. The value is what the
-- task declares (pgqueue.tasks), or else the default. A column that was left out is recognised by its mark, which is the default value of
-- the column in the parent table.
-- If no worker has reported the task yet, `undeclared` lists these columns. sync_tasks sets them when a worker reports the task.
-- pgqueue's own enqueuing does not fire this trigger, because it writes to jobs_live, which has real defaults.
-- Runs as the owner, because a role that is allowed to insert jobs need not be allowed to update them. Updates only the rows that the
-- INSERT stored.
create or replace function pgqueue.fill_declared()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- rows are found by jobs_live_id_key, even if the statistics are stale
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
declare
    live     boolean;
    ended    boolean;
    reserved text;
begin
    -- A job that has ended is not refused: it will not run again. rescue.sql inserts such jobs into this table.
    select min(a.task) into reserved from added a
    where a.stored_by_pgqueue is null and a.state in ('pending', 'retrying', 'waiting', 'running') and pgqueue.is_reserved(a.task);
    if reserved is not null then
        raise exception using errcode = 'PQ404', message = format('pgqueue: the name %s is reserved', reserved),
            hint = 'pgqueue uses names that begin with pgqueue. or contain :on_ for messages of alerts and for hooks';
    end if;
    select bool_or(a.state in ('pending', 'retrying', 'waiting', 'running')),
           bool_or(a.state not in ('pending', 'retrying', 'waiting', 'running'))
    into live, ended
    from added a
    where a.queue = 'pgqueue.declared' or a.max_attempts = 9999 or a.priority = -32768 or a.timeout = interval '365 days';
    if live then
        update pgqueue.jobs_live j
        set queue = case when j.queue = 'pgqueue.declared' then coalesce(t.options ->> 'queue', 'default') else j.queue end,
            max_attempts = case when j.max_attempts = 9999 then coalesce((t.options ->> 'max_attempts')::smallint, 6)
                                else j.max_attempts end,
            priority = case when j.priority = -32768 then coalesce((t.options ->> 'priority')::smallint, 0) else j.priority end,
            timeout = case when j.timeout = interval '365 days'
                           then make_interval(secs => (t.options ->> 'timeout')::float8) else j.timeout end,
            undeclared = case when t.name is null then array_remove(array[
                case when j.queue = 'pgqueue.declared' then 'queue' end, case when j.max_attempts = 9999 then 'max_attempts' end,
                case when j.priority = -32768 then 'priority' end, case when j.timeout = interval '365 days' then 'timeout' end],
                null) end
        from added a
        left join pgqueue.tasks t on t.name = a.task
        where j.id = a.id
          and (a.queue = 'pgqueue.declared' or a.max_attempts = 9999 or a.priority = -32768 or a.timeout = interval '365 days');
    end if;
    if ended then  -- finished jobs that a user imports
        update pgqueue.jobs j
        set queue = case when j.queue = 'pgqueue.declared' then 'default' else j.queue end,
            max_attempts = case when j.max_attempts = 9999 then 6 else j.max_attempts end,
            priority = case when j.priority = -32768 then 0 else j.priority end,
            timeout = case when j.timeout = interval '365 days' then null else j.timeout end
        from added a
        where j.id = a.id and j.state = a.state and a.state not in ('pending', 'retrying', 'waiting', 'running');
    end if;
    return null;
end
$function$;
