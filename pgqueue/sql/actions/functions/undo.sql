-- Undoes one action: `select * from pgqueue.undo(12, '{"actor": "ann"}')`, with the id of its row in pgqueue.audit. Jobs that have moved on
-- since then, and locked ones, are left as they are. Of an operation with several slices, each slice has a row, and is undone alone.
-- Can undo cancel, retry, delete, run_now and edit of jobs, pause and resume of queues and schedules, and changes of limits.
-- Writes a row into pgqueue.audit, with the reasons of the jobs that were left. If something was undone, its `undoes` is the id of the undone
-- row. Only the jobs that were locked can then be undone later. If nothing was undone, `undoes` is null, and the undo can be tried again.
-- Undoes of the same action wait for each other, because each would take the jobs that the other has locked for locked by a stranger.
-- Returns one row for each job, or one row without a job. `result` is undone; or why not: moved on, the state of the job, locked, not found,
-- unique_key, idempotency_key, node or children. `audit_id` is the id of the new row.
-- Raises PQ404 if there is no such action, if it was undone already, if its time is over, or if it cannot be undone.
create or replace function pgqueue.undo(audit bigint, who jsonb default '{}')
returns table (audit_id bigint, job_id bigint, result text)
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
#variable_conflict use_column
declare
    act   pgqueue.audit;
    wrong text;
    job   record;
    word  text;
    ids   bigint[] := '{}';
    words text[] := '{}';
begin
    perform pg_advisory_xact_lock(hashtext('pgqueue.undo'), (undo.audit % 2147483647)::int);
    select a.* into act from pgqueue.audit a where a.id = undo.audit;
    wrong := case when act.id is null then format('there is no action %s', coalesce(undo.audit::text, 'null'))
                  when exists (select from pgqueue.audit a where a.undoes = act.id)
                       and not exists (select from pgqueue.undo_rows u where u.audit_id = act.id) then format('action %s was undone already', act.id)
                  when act.undo_until is null then format('action %s (%s) cannot be undone', act.id, act.action)
                  when act.undo_until < clock_timestamp() then format('action %s can no longer be undone: its time was over at %s', act.id, act.undo_until) end;
    if wrong is not null then
        raise exception using errcode = 'PQ404', message = 'pgqueue: ' || wrong;
    end if;
    if act.job_ids is null then
        word := pgqueue.undo_settings(act);
        ids := array[null::bigint];
        words := array[word];
    end if;
    for job in
        select u.job_id as id, u.before, l.is_free from pgqueue.undo_rows u
        left join lateral pgqueue.lock_to_undo(u.job_id) l (is_free) on true
        where u.audit_id = act.id order by u.job_id
    loop
        word := case when job.is_free is false then 'locked'
                     when act.action = 'cancel' then pgqueue.undo_cancel(job.id, job.before)
                     when act.action = 'retry' then pgqueue.undo_retry(job.id, job.before)
                     when act.action = 'delete' then pgqueue.undo_delete(job.id, job.before)
                     else pgqueue.undo_edit(job.id, job.before) end;
        ids := ids || job.id;
        words := words || word;
    end loop;
    audit_id := pgqueue.note_action(jsonb_build_object(
        'action', 'undo', 'about', jsonb_build_object('action', act.action, 'id', coalesce(act.operation, act.id)), 'before', act.after, 'after', act.before,
        'undoes', case when 'undone' = any(words) then act.id end,
        'changed', cardinality(array_positions(words, 'undone')), 'seen', cardinality(words),
        'job_ids', case when act.job_ids is not null then
            (select coalesce(jsonb_agg(p.id), '[]') from unnest(ids, words) p (id, word) where p.word = 'undone') end,
        'refused', (select jsonb_object_agg(r.word, r.ids)
                    from (select p.word, jsonb_agg(p.id order by p.id) as ids from unnest(ids, words) p (id, word)
                          where p.word <> 'undone' group by 1) r)), who);
    if 'undone' = any(words) then
        delete from pgqueue.undo_rows u
        where u.audit_id = act.id and not u.job_id = any(array(select p.id from unnest(ids, words) p (id, word) where p.word = 'locked'));
        perform pgqueue.notify('');
    end if;
    return query select undo.audit_id, p.id, p.word from unnest(ids, words) p (id, word);
end
$function$;
