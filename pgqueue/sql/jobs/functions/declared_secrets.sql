-- Returns what workers have declared as secret: for each task, as a JSON array of jsonpaths, the paths within its jobs' arguments
-- (`within_args`), and the paths to the texts and numbers that are secret within {"args": …, "result": …} (`paths`). A task that ends with :on
-- stands for the jobs of a task's hooks, whose arguments contain the row of the job. In a declared path, * is each item or key, and ** any
-- number of them (model/redaction.py). A declaration that cannot be read makes all secret.
create or replace function pgqueue.declared_secrets()
returns table (task text, within_args jsonb, paths jsonb)
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select t.name || w.suffix, coalesce(jsonb_agg('$' || w.start || k.path) filter (where w.part = 'args'), '[]'),
           jsonb_agg('$."' || w.part || '"' || w.start || k.path || '.** ? (@.type() == "string" || @.type() == "number")')
    from pgqueue.tasks t
    cross join (values ('', 'args', '', 'args'), ('', 'result', '', 'result'),
                       (':on', 'args', '."job"."args"', 'args'), (':on', 'args', '."job"."result"', 'result')) w (suffix, part, start, declared)
    cross join lateral jsonb_array_elements(case
        when t.redact is null then '[]' when jsonb_typeof(t.redact) <> 'object' then '[[]]' when not t.redact ? w.declared then '[]'
        when jsonb_typeof(t.redact -> w.declared) <> 'array' then '[[]]' else t.redact -> w.declared end) p (path)
    cross join lateral (
        select coalesce(string_agg(case e.word when '*' then '.**{1}' when '**' then '.**' else '.' || to_json(e.word) end, '' order by e.n), '') as path
        from jsonb_array_elements_text(case jsonb_typeof(p.path) when 'array' then p.path else '[]' end) with ordinality e (word, n)) k
    group by 1
$function$;
