-- Says why a job is not running. The answer is the first of these reasons that is true:
--   its row is not visible (not committed, or gone); it has finished; it runs; it waits for a signal or for other nodes of its workflow;
--   the database refuses to release it (leave_to_leader.sql);
--   it sleeps or is not due yet; its queue is paused;
--   no living worker serves its queue; none of the workers that serve it knows the job's task; none of those that know it accepts the
--     version of the job's checkpoints; another job of its key must end first;
--   its key or its task is paused, or a limit is used up; all slots of the workers that can run it, or all their slots for its queue, are
--     taken;
--   other jobs are ahead of it; nothing stands in its way.
-- If the answer can be wrong, because row security hides rows from the role, the sentence says so.
-- `reason` is one word for programs. `sentence` says the same for people. `until` is the time at which the reason will be gone, if that is
-- known. `ahead` is how many due jobs come first (counted to 10,000). `do_this` is a command or a sentence that says what a person can do.
-- Reads the rows of the job, its queue and the workers, and at most 10,000 entries of jobs_live_claim_idx. Locks nothing. Always returns
-- one row.
create or replace function pgqueue.why(job bigint, out reason text, out sentence text, out until timestamptz,
    out ahead integer, out do_this text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $function$
#variable_conflict use_column
declare
    moment  timestamptz := clock_timestamp();
    most    constant integer := 10000;
    j       record;
    w       record;
    workers record;
    lag     interval;
    blocker record;
    before  text;
    remedy  text;
    unseen  text := coalesce(
        (select format(' Row security hides rows of %s from the role %s, so this may be wrong.', string_agg(t, ', '), current_user)
         from unnest(array['jobs', 'queues', 'workers', 'limits', 'seats', 'pauses']) t
         where row_security_active(('pgqueue.' || t)::regclass) having count(*) > 0), '');
begin
    select l.id, l.state, l.queue, l.task, l.priority, l.run_at, l.created_at, l.started_at, l.finished_at, l.attempt, l.max_attempts,
           l.worker_id, l.waits_for, l.concurrency_key, l.ordering, l.weight, l.version,
           split_part(coalesce(l.last_error, ''), E'\n', 1) as error
    into j
    from pgqueue.jobs l where l.id = why.job order by l.finished_at nulls first limit 1;

    if not found then
        reason := 'unknown';
        if not has_sequence_privilege('pgqueue.jobs_id_seq', 'select, usage') then
            sentence := format('There is no job %s that the role %s can see: no job has had the number yet, or the transaction that'
                               ' enqueued it is still open or was rolled back, or the job finished and was deleted after its retention. The role'
                               ' is not allowed to read the sequence pgqueue.jobs_id_seq, which shows the last number.', why.job, current_user);
            do_this := format('grant select on sequence pgqueue.jobs_id_seq to %I', current_user);
        elsif why.job > coalesce(pg_sequence_last_value('pgqueue.jobs_id_seq'), 0) then
            sentence := format('No job has had the number %s yet.', why.job);
        else
            sentence := format('There is no job %s: the transaction that enqueued it is still open or was rolled back, or the'
                               ' job finished and was deleted after its retention.', why.job);
        end if;
        sentence := sentence || unseen;
        return;
    end if;

    if j.state in ('completed', 'cancelled', 'dead') then
        reason := j.state;
        sentence := format('It has been %s since %s', j.state, pgqueue.time_in_words(j.finished_at)) ||
            case when j.state <> 'completed' and j.error <> ''
                 then format(', after %s of %s attempts: %s', j.attempt, j.max_attempts, j.error) else '.' end;
        if j.state <> 'completed' then
            do_this := format('pgq jobs revive %s', j.id);
        end if;
        return;
    end if;

    if j.state = 'running' then
        select x.host, x.pid, x.expires_at, x.blocked_since, x.blocked_by into w from pgqueue.workers x where x.id = j.worker_id;
        if w.expires_at < moment then
            reason := 'lost';
            sentence := format('The lease of its worker %s (%s, pid %s) ran out at %s; the leader will rescue the job.',
                               j.worker_id, w.host, w.pid, pgqueue.time_in_words(w.expires_at));
            return;
        end if;
        reason := 'running';
        sentence := format('It has been running since %s, attempt %s of %s, on worker %s (%s, pid %s).', pgqueue.time_in_words(j.started_at),
                           j.attempt, j.max_attempts, j.worker_id, w.host, w.pid);
        if w.blocked_since is not null then
            reason := 'blocked';
            sentence := sentence || format(' The loop of that worker has been blocked since %s', pgqueue.time_in_words(w.blocked_since)) ||
                case when j.id = any(w.blocked_by) then ' by this job.'
                     when cardinality(w.blocked_by) > 0 then format(' by job %s.', w.blocked_by[1]) else '.' end;
            do_this := 'declare the handler that blocks with def instead of async def, or give its task executor="process"';
        end if;
        return;
    end if;

    if j.waits_for is not null then
        reason := 'signal';
        until := nullif(j.run_at, --+ no_end)
        ;
        sentence := format('It waits for the signal %s', array_to_string(j.waits_for, ' or '))
            || coalesce((select format(', since %s', pgqueue.time_in_words(min(c.at))) from pgqueue.checkpoints c
                         where c.job_id = j.id and c.kind = 'wait' and c.value ? 'names' having count(*) > 0), '')
            || case when until is null then ', without a time-out.'
                    when until > moment then format(', until %s.', pgqueue.time_in_words(until))
                    else format('. Its time-out passed at %s; the leader wakes it.', pgqueue.time_in_words(until)) end;
        do_this := format('pgq jobs signal %s %s', j.id, j.waits_for[1]);
        if starts_with(j.waits_for[1], 'gather:') then
            do_this := format('pgq workflows show %s', substr(j.waits_for[1], length('gather:') + 1));
            sentence := sentence || coalesce((
                select ' Its children have ended. ' || split_part(u.error, E'\n', 1)
                from pgqueue.unresolved u join pgqueue.nodes n on n.id = u.node_id join pgqueue.workflows f on f.id = n.workflow_id
                where f.parent_job = j.id and u.error is not null and n.is_gate
                limit 1), '');
        end if;
        return;
    end if;

    if j.state = 'waiting' then
        select n.name, n.unmet, n.workflow_id, (select max(u.error) from pgqueue.unresolved u where u.node_id = n.id) as refusal
        into w from pgqueue.nodes n where n.id = j.id;
        if w.refusal is not null then
            reason := 'refused';
            sentence := format('It is node %s of workflow %s. %s', w.name, w.workflow_id, split_part(w.refusal, E'\n', 1));
            do_this := 'correct what raises this error, for instance a trigger on pgqueue.jobs_live; the leader tries again every 2 s';
            return;
        end if;
        if found then
            reason := 'waiting';
            sentence := format('It is node %s of workflow %s, and waits for the end of %s', w.name, w.workflow_id, pgqueue.with_noun(w.unmet, 'node'))
                || coalesce((select ': ' || string_agg(b.name || ' (' || case when b.is_gate then 'group' else 'job ' || b.id end || ')', ', ' order by b.rank)
                             from (select b.name, b.is_gate, b.id, b.rank
                                   from pgqueue.dependencies d join pgqueue.nodes b on b.id = d.on_id
                                   where d.node_id = j.id and b.state is null order by b.rank limit 3) b), '')
                || case when w.unmet > 3 then ' and others.' else '.' end;
            return;
        end if;
    end if;

    if j.run_at > moment then
        until := j.run_at;
        if j.state = 'retrying' then
            reason := 'backoff';
            sentence := format('Attempt %s of %s failed (%s); the next attempt is due at %s.', j.attempt, j.max_attempts, j.error,
                               pgqueue.time_in_words(j.run_at));
        else
            reason := 'scheduled';
            sentence := format('It is due at %s.', pgqueue.time_in_words(j.run_at));
            select c.name into before from pgqueue.checkpoints c
            where c.job_id = j.id and c.kind = 'sleep' and (c.value ->> 'until')::timestamptz = j.run_at
            order by c.name limit 1;
            if found then
                reason := 'sleeping';
                sentence := format('It sleeps until %s, by its step %s.', pgqueue.time_in_words(j.run_at), quote_literal(before));
                do_this := format('to wake it now: pgq jobs edit %s --in 0s', j.id);
            end if;
        end if;
        return;
    end if;

    if exists (select from pgqueue.queues q where q.name = j.queue and q.paused) then
        reason := 'paused';
        sentence := format('Its queue %s is paused.', j.queue);
        do_this := format('pgq queues resume %s', j.queue);
        return;
    end if;

    -- A draining worker is alive, but takes no more jobs: it was asked to be quiet, or it stops.
    select count(*) filter (where x.takes) as living, count(x.serving) filter (where x.takes) as serving,
           count(*) filter (where x.takes and x.able) as able, count(*) filter (where x.takes and x.able and x.accepts) as accepting,
           coalesce(array_agg(x.id) filter (where x.takes and x.able and x.accepts), '{}') as ids,
           count(*) filter (where not x.takes) as draining, count(x.serving) filter (where not x.takes) as serving_until_now,
           count(*) filter (where x.able and not x.takes) as able_until_now
    into workers
    from (select w.id, w.state = 'running' as takes, s.serving, s.serving is not null and j.task = any(w.tasks) as able,
                 j.version is null or j.task || '@' || j.version = any(w.accepts) as accepts
          from pgqueue.workers w cross join lateral (select pgqueue.serving_name(j.queue, w.queues)) s (serving)
          where w.state in ('running', 'draining') and w.expires_at > moment) x;

    -- `pgq doctor` uses the same words. They contain `module:app` as it is, because an app's name need not be the name of a module.
    remedy := format('start a worker %s: pgq work -A module:app -Q %s',
                    coalesce((select 'of the app ' || t.app from pgqueue.tasks t where t.name = j.task), 'that has this task'), j.queue);
    if workers.serving = 0 then
        reason := 'no_worker';
        sentence := case
            when workers.serving_until_now > 0 then
                format('No worker takes jobs of its queue %s: ', j.queue) ||
                case workers.serving_until_now when 1 then '1 worker serves it, but is quiet or stops.'
                     else format('%s workers serve it, but are quiet or stop.', workers.serving_until_now) end
            else format('No living worker serves its queue %s; ', j.queue) ||
                case when workers.living = 0 and workers.draining = 0 then 'no worker is alive.'
                     when workers.living + workers.draining = 1 then '1 worker serves other queues.'
                     else format('%s workers serve other queues.', workers.living + workers.draining) end end || unseen;
        do_this := remedy;
        return;
    end if;
    if workers.able = 0 then
        reason := 'unknown_task';
        select x.id, x.host, x.version, x.heartbeat_at into w
        from pgqueue.workers x where j.task = any(x.tasks) order by x.heartbeat_at desc limit 1;
        sentence := case
            when workers.able_until_now > 0 then
                format('No worker of its queue %s takes the task %s: ', j.queue, j.task) ||
                case workers.able_until_now when 1 then '1 worker knows it, but is quiet or stops.'
                     else format('%s workers know it, but are quiet or stop.', workers.able_until_now) end
            else format('No living worker of its queue %s knows the task %s; ', j.queue, j.task) ||
                case when found then format('the last one that knew it was worker %s on %s (pgqueue %s); its last heartbeat was at %s.', w.id, w.host,
                                            w.version, pgqueue.time_in_words(w.heartbeat_at))
                     else 'no worker has known it so far.' end end || unseen;
        do_this := remedy;
        return;
    end if;

    if workers.accepting = 0 then
        reason := 'unaccepted_version';
        sentence := format('Its checkpoints are of version %s, and no living worker accepts it', j.version) ||
            coalesce((select format('; the last one that did was worker %s on %s%s; its last heartbeat was at %s.', x.id, x.host,
                                    ' (version ' || x.app_version || ' of its app)', pgqueue.time_in_words(x.heartbeat_at))
                      from pgqueue.workers x where j.task || '@' || j.version = any(x.accepts)
                      order by x.heartbeat_at desc limit 1), '.') || unseen;
        do_this := format('start a worker whose task %s accepts %s: accepts=(…, %s)', j.task, j.version, j.version);
        return;
    end if;

    if j.ordering is not null then
        select d.id, d.state, d.started_at into blocker from (
            (select o.id, o.state, o.started_at from pgqueue.jobs_live o
             where o.queue = j.queue and o.concurrency_key = j.concurrency_key and o.ordering is not null and o.id < j.id
             order by o.id limit 1)
            union all  -- a job with a greater id can have begun before this one was committed
            (select o.id, o.state, o.started_at from pgqueue.jobs_live o
             where o.queue = j.queue and o.concurrency_key = j.concurrency_key and o.ordering is not null and o.id > j.id
               and o.state = 'running' limit 1)
            union all
            (select x.id, x.state, x.started_at from pgqueue.jobs_dead x
             where x.queue = j.queue and x.concurrency_key = j.concurrency_key and x.ordering = 'block' and x.id < j.id
             order by x.id limit 1)) d
        order by d.state = 'dead' desc, d.id limit 1;
        if found then
            reason := 'order';
            sentence := format('Jobs of its key %s run one after the other, and job %s is %s.', j.concurrency_key, blocker.id, blocker.state);
            if blocker.state = 'dead' then
                do_this := format('pgq jobs revive %s', blocker.id);
            end if;
            return;
        end if;
    end if;

    select p.until into until from pgqueue.pauses p
    where p.until > moment
      and (p.task, p.key) = (case when j.concurrency_key is null then j.task else '' end, coalesce(j.concurrency_key, ''));
    if found then
        reason := 'rate';
        sentence := format('Its %s is paused until %s, because a handler raised RateLimited.',
                           coalesce('key ' || j.concurrency_key, 'task ' || j.task), pgqueue.time_in_words(until));
        do_this := 'to end the pause now, delete its row in pgqueue.pauses';
        return;
    end if;

    for blocker in
        select l.id, l.concurrency, l.rate, trim_scale(extract(epoch from l.period)) as period, l.per_key, coalesce(s.taken, 0) as taken, s.free_at
        from pgqueue.limits l
        join pgqueue.seats s on s.limit_id = l.id and s.key = case when l.per_key then j.concurrency_key else '' end
        where (l.queue is null or l.queue = j.queue) and (l.task is null or l.task = j.task)
          and (l.key is null or l.key = j.concurrency_key)
          and pgqueue.is_full(s.taken, s.wanted, l.concurrency, s.free_at, moment)
        order by s.free_at desc nulls last, l.id
    loop
        if blocker.free_at > moment then
            reason := 'rate';
            until := blocker.free_at;
            sentence := format('Limit %s lets %s start every %s%s; the next job can start at %s.', blocker.id,
                               pgqueue.with_noun(blocker.rate, 'job'),
                               case when blocker.period % 3600 = 0 then trim_scale(blocker.period / 3600) || ' h'
                                    when blocker.period % 60 = 0 then trim_scale(blocker.period / 60) || ' m' else blocker.period || ' s' end,
                               case when blocker.per_key then ' for its key ' || j.concurrency_key else '' end, pgqueue.time_in_words(blocker.free_at));
        else
            reason := 'limit';
            sentence := format(case blocker.concurrency when 1 then 'The only seat of limit %2$s%3$s is taken' when 0 then 'Limit %2$s%3$s lets no job run'
                                    else 'All %1$s seats of limit %2$s%3$s are taken' end, blocker.concurrency, blocker.id,
                               case when blocker.per_key then ' for its key ' || j.concurrency_key else '' end)
                || coalesce((select format(', by job %s since %s', o.id, pgqueue.time_in_words(o.started_at)) from pgqueue.jobs_live o
                             where o.state = 'running' and o.worker_id is not null and blocker.id = any(o.seats_taken)
                               and (not blocker.per_key or o.concurrency_key = j.concurrency_key)
                             order by o.started_at limit 1), '') || '.';
        end if;
        return;
    end loop;

    -- Keys take turns. So if the job has a key, only other jobs of this key are ahead of it.
    if j.concurrency_key is null then
        select count(*) into ahead from (
            select from pgqueue.jobs_live l
            where l.queue = j.queue and l.state in ('pending', 'retrying') and l.concurrency_key is null and l.parked is null
              and l.priority <= j.priority and l.run_at <= moment and (l.priority, l.run_at, l.id) < (j.priority, j.run_at, j.id)
            limit most) a;
    else
        select count(*) into ahead from (
            select from pgqueue.jobs_live l
            where l.queue = j.queue and l.state in ('pending', 'retrying') and l.concurrency_key = j.concurrency_key
              and l.priority <= j.priority and l.run_at <= moment and (l.priority, l.run_at, l.id) < (j.priority, j.run_at, j.id)
            limit most) a;
    end if;
    -- How long the job that started last had been due before its start.
    select l.started_at - l.run_at into lag
    from pgqueue.jobs_live l
    where l.worker_id = any(workers.ids) and l.state = 'running' and l.queue = j.queue and l.priority = j.priority
    order by l.started_at desc limit 1;

    before := case ahead when 0 then 'no due job is' when 1 then '1 due job is' when most then format('at least %s due jobs are', most)
                   else format('%s due jobs are', ahead) end || ' ahead of it.';

    -- The slots of the workers that can run it, in all and for its queue alone, and how many of each are taken.
    select bool_or(x.taken < x.slots) as has_slots, bool_or(x.taken < x.slots and (x.own is null or x.own_taken < x.own)) as has_room,
           sum(x.slots) as slots, sum(x.taken) as taken, sum(x.own) as own, sum(x.own_taken) filter (where x.own is not null) as own_taken
    into w
    from (select k.slots, s.own, r.taken, r.own_taken
          from pgqueue.workers k
          cross join lateral (select pgqueue.serving_name(j.queue, k.queues)) n (serving)
          cross join lateral (select k.queue_slots[array_position(k.queues, n.serving)]) s (own)
          cross join lateral (
              select count(*) as taken, count(*) filter (where pgqueue.serving_name(l.queue, k.queues) = n.serving) as own_taken
              from pgqueue.jobs_live l where l.worker_id = k.id and l.state = 'running') r
          where k.id = any(workers.ids)) x;

    if not w.has_slots then
        reason := 'busy';
        sentence := format('No slot is free on the %s that can run it (%s of %s taken), and %s',
                           pgqueue.with_noun(workers.accepting, 'worker'), w.taken, w.slots, before);
    elsif not w.has_room then
        reason := 'queue_slots';
        sentence := format('No slot of its queue %s is free on the %s that can run it (%s of %s taken%s), and %s', j.queue,
                           pgqueue.with_noun(workers.accepting, 'worker'), w.own_taken, w.own,
                           (select format(', the longest by job %s since %s', l.id, pgqueue.time_in_words(l.started_at))
                            from pgqueue.jobs_live l join pgqueue.workers k on k.id = l.worker_id
                            where k.id = any(workers.ids) and l.state = 'running'
                              and pgqueue.serving_name(l.queue, k.queues) = pgqueue.serving_name(j.queue, k.queues)
                            order by l.started_at limit 1), before);
    elsif ahead > 0 then
        reason := 'behind';
        sentence := upper(left(before, 1)) || substr(before, 2);
    else
        reason := 'due';
        sentence := 'Nothing stands in its way: a worker will claim it immediately, or at its next poll.' || unseen;
        return;
    end if;
    if j.run_at + lag > moment then
        until := j.run_at + lag;
        sentence := sentence || format(' At the present pace it starts at about %s.', pgqueue.time_in_words(until));
    end if;
end
$function$;
