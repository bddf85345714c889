-- Stores a deleted job again, with its transitions, checkpoints, signals and idempotency keys. Returns undone; not found if the id has a job
-- again; or unique_key or idempotency_key, if another job has its key now.
create or replace function pgqueue.undo_delete(job bigint, before jsonb)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    former constant pgqueue.jobs := jsonb_populate_record(null::pgqueue.jobs, before -> 'job');
begin
    if exists (select from pgqueue.jobs j where j.id = job) then
        return 'moved on';
    elsif exists (select from jsonb_populate_recordset(null::pgqueue.idempotency_keys, before -> 'keys') k
                  join pgqueue.idempotency_keys n on n.task = k.task and n.key = k.key) then
        return 'idempotency_key';
    elsif former.state in ('pending', 'retrying', 'waiting') then
        insert into pgqueue.jobs_live select l.* from jsonb_populate_record(null::pgqueue.jobs_live, before -> 'job') l on conflict do nothing;
    else
        insert into pgqueue.jobs select former.*;
    end if;
    if not exists (select from pgqueue.jobs j where j.id = job) then
        return 'unique_key';
    end if;
    insert into pgqueue.transitions select t.* from jsonb_populate_recordset(null::pgqueue.transitions, before -> 'transitions') t;
    insert into pgqueue.checkpoints select c.* from jsonb_populate_recordset(null::pgqueue.checkpoints, before -> 'checkpoints') c;
    insert into pgqueue.signals (job_id, at, taken_by, name, key, sender, payload)
    select s.job_id, s.at, s.taken_by, s.name, s.key, s.sender, s.payload
    from jsonb_populate_recordset(null::pgqueue.signals, before -> 'signals') s
    order by s.id;
    insert into pgqueue.idempotency_keys select k.* from jsonb_populate_recordset(null::pgqueue.idempotency_keys, before -> 'keys') k
    on conflict do nothing;
    return 'undone';
end
$function$;
