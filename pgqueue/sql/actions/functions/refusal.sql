-- Says why an action on a job is refused: a word, or the job's state; null if it is not refused. act() asks under the lock of the job, and
-- preview_action.sql asks without a lock, so that both follow the same rules.
-- The words: node (a node of a workflow cannot be deleted, because others count on it), children (the job waits for its children).
create or replace function pgqueue.refusal(action text, state text, is_node boolean, waits_for text[])
returns text
language sql
immutable
set search_path = pg_catalog, pg_temp
as $function$
    select case action
        when 'cancel' then case when state in ('completed', 'cancelled', 'dead') then state end
        when 'retry' then case when state not in ('dead', 'cancelled') then state end
        when 'edit' then case when state not in ('pending', 'retrying', 'waiting') then state end
        when 'run_now' then case when state not in ('pending', 'retrying') then state end
        when 'delete' then case when state = 'running' then state when is_node then 'node'
                                when exists (select from unnest(waits_for) w (name) where starts_with(w.name, 'gather:')) then 'children' end
    end
$function$;
