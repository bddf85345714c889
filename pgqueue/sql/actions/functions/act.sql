-- Does one action of an operator with up to 1000 jobs, in the caller's transaction, and writes a row about it into pgqueue.audit:
-- `select * from pgqueue.act('retry', array[7, 8], who => '{"actor": "ann"}')`.
-- `action` is retry (revive dead or cancelled jobs), cancel, delete, run_now, or edit. `options` is an object: changes (what an edit changes,
-- see edit.sql), states (only jobs in one of these states), forget (a delete cannot be undone, and the job's former values are erased from
-- undo_rows, too). The commands also give operation and about: the audit row to which this slice belongs (begin_operation.sql).
-- `who` says who acts (note_action.sql).
-- Returns one row for each id. `result` is revived, cancelled, requested (asked to stop), edited, due or deleted; or why nothing
-- was changed: not found, locked, alone, the state of the job, unique_key, node or children.
-- `locked`: another transaction has locked the job. act() waits for no job, so a locked one never holds up the others.
-- `alone`: retry and cancel change other nodes of its workflow, too; call act() for this id alone, so that nodes are locked in order.
-- Raises PQ404 if the call is wrong. Locks the jobs by id, skipping locked ones; in a retry, then their unique keys, in key order.
create or replace function pgqueue.act(action text, ids bigint[], options jsonb default '{}', who jsonb default '{}')
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
    known   constant text[] := array['changes', 'states', 'forget', 'operation', 'about'];
    changes constant jsonb := case action when 'run_now' then '{"delay": 0}' else options -> 'changes' end;
    done    constant text[] := array['revived', 'cancelled', 'requested', 'edited', 'due', 'deleted'];
    states  text[];
    wrong   text;
    job     record;
    word    text;
    found_ids bigint[] := '{}';
    words   text[] := '{}';
    deleted bigint[] := '{}';
    acted   bigint[] := '{}';
    befores jsonb[] := '{}';
begin
    wrong := case when action is null or action <> all(array['retry', 'cancel', 'delete', 'run_now', 'edit']) then
                      'unknown action ' || coalesce(quote_literal(action), 'null') || ': retry, cancel, delete, run_now or edit'
                  when coalesce(cardinality(ids), 0) not between 1 and 1000 then 'give from 1 to 1000 ids'
                  when jsonb_typeof(options) is distinct from 'object' or options - known <> '{}' then
                      'unknown options for an action: ' || coalesce((options - known)::text, 'null')
                  when (action = 'edit') <> (changes is not null and action <> 'run_now') then 'changes are given for an edit, and only for an edit' end;
    if wrong is not null then
        raise exception using errcode = 'PQ404', message = 'pgqueue: ' || wrong;
    end if;
    states := case when options ? 'states' then array(select jsonb_array_elements_text(options -> 'states')) end;
    for job in select * from pgqueue.lock_for_action(action, ids) loop
        word := coalesce(case when job.state <> all(states) then job.state end,
                         pgqueue.refusal(action, job.state, job.is_node, job.waits_for),
                         case when job.is_node and action in ('retry', 'cancel') and cardinality(ids) > 1 then 'alone' end);
        if word is null then
            word := case action when 'cancel' then pgqueue.cancel(job.id) when 'retry' then pgqueue.revive(job.id)
                                when 'delete' then 'deleted' else pgqueue.edit(job.id, changes) end;
            word := case when action = 'run_now' and word = 'edited' then 'due' else word end;
            if word = 'deleted' then
                deleted := deleted || job.id;
            elsif word = any(done) then
                acted := acted || job.id;
                befores := befores || job.before;
            end if;
        end if;
        found_ids := found_ids || job.id;
        words := words || word;
    end loop;
    if action in ('edit', 'run_now') and acted <> '{}' then
        select array_agg(pgqueue.changed_values(p.before, pgqueue.editable(j)) order by p.place) into befores
        from unnest(acted, befores) with ordinality p (id, before, place)
        cross join lateral (select j from pgqueue.jobs j where j.id = p.id and j.state in ('pending', 'running', 'retrying', 'waiting')
                            offset 0) x (j);
    end if;
    if deleted <> '{}' then
        acted := deleted;
        befores := pgqueue.delete_jobs(deleted, (options -> 'forget') is distinct from 'true');
    end if;
    -- Jobs that lock_for_action did not return do not exist, are locked, or are in a state that it does not look for.
    select found_ids || array_agg(m.id), words || array_agg(coalesce(
               case when j.state is null then 'not found' end, case when j.state <> all(states) then j.state end,
               pgqueue.refusal(action, j.state, j.is_node, null), 'locked'))
    into found_ids, words
    from (select distinct i.id from unnest(ids) i (id) where i.id <> all(found_ids)) m
    left join lateral (select j.state, j.workflow_id is not null as is_node from pgqueue.jobs j where j.id = m.id
                       order by j.finished_at nulls first limit 1) j on true;
    audit_id := pgqueue.note_slice(action, options, who, acted, found_ids, words);
    if audit_id is not null and (options -> 'forget') is distinct from 'true' then
        insert into pgqueue.undo_rows (audit_id, job_id, before)
        select act.audit_id, p.id, p.before from unnest(acted, befores) p (id, before) where p.before is not null;
    end if;
    return query select act.audit_id, p.id, p.word from unnest(found_ids, words) p (id, word);
end
$function$;
