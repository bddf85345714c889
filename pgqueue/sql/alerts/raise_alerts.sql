-- Opens or renews an alert for each cause in `causes`, a JSON array of the causes that the leader has found. Resolves open alerts whose
-- cause has not been found for `calm` seconds.
-- If an alert is not muted, it gets a message when it opens, and another message every `remind` seconds (null: no further message). A
-- message is one job for each of `targets`. These are names of tasks; a task is left out if no living worker knows it.
-- The messages are stored in the same statement as the alert. So if two leaders run the statement at the same time, only one of them stores
-- a message.
-- In each minute, at most `most` alerts have a message of their own. The other alerts that are due for a message at that time share one
-- message, which counts them. After that, alerts wait for their message until the minute is over.
-- Locks the alerts that it writes, in the order of kind and subject (index alerts_open_key). Returns the alerts that were opened or
-- resolved.
with cause as materialized (
    select c.kind, c.subject, c.queue, c.job_id, c.count, c.first_at, c.text
    from jsonb_to_recordset(%(causes)s::text::jsonb) as c
        (kind text, subject text, queue text, job_id bigint, count integer, first_at timestamptz, text text)
), target as materialized (
    select t.task from unnest(%(targets)s::text[]) t (task)
    where exists (select from pgqueue.workers w
                  where w.state in ('running', 'draining') and w.expires_at > clock_timestamp() and t.task = any(w.tasks))
), spent as materialized (
    select count(*) as count from pgqueue.alerts a where a.sent_at > statement_timestamp() - interval '1 minute'
), known as materialized (
    select c.kind, c.subject, max(o.muted_until) as muted_until,
           exists (select from target) and coalesce(max(o.muted_until) <= statement_timestamp(), true)
           and coalesce(bool_and(o.sent_at is null or o.sent_at < statement_timestamp() - make_interval(secs => %(remind)s::float8))
                        filter (where o.resolved_at is null), bool_and(o.resolved_at is not null), true) is true as is_due
    from cause c left join pgqueue.alerts o on o.kind = c.kind and o.subject = c.subject
    group by c.kind, c.subject
), told as materialized (
    select k.kind, k.subject, k.muted_until, row_number() over (partition by k.is_due order by k.kind, k.subject) + s.count as rank,
           case when k.is_due and s.count <= %(most)s::int then statement_timestamp() end as sent_at
    from known k cross join spent s
), raised as (
    insert into pgqueue.alerts as a
        (kind, subject, queue, job_id, count, first_at, last_at, muted_until, sent_at, messages, text)
    select c.kind, c.subject, c.queue, c.job_id, c.count, coalesce(c.first_at, statement_timestamp()),
           statement_timestamp(), t.muted_until, t.sent_at, (t.sent_at is not null)::int, c.text
    from cause c join told t on t.kind = c.kind and t.subject = c.subject
    order by c.kind, c.subject
    on conflict (kind, subject) where resolved_at is null do update
        set last_at = excluded.last_at, queue = excluded.queue, job_id = excluded.job_id, text = excluded.text,
            count = case a.kind when 'dead' then excluded.count else a.count + 1 end,
            messages = a.messages + (excluded.sent_at is not null
                and (a.sent_at is null or a.sent_at < excluded.sent_at - make_interval(secs => %(remind)s::float8)) is true)::int,
            sent_at = case when a.sent_at is null or a.sent_at < excluded.sent_at - make_interval(secs => %(remind)s::float8)
                           then excluded.sent_at else a.sent_at end
    returning a.id, a.kind, a.subject, a.queue, a.job_id, a.count, a.messages, a.first_at, a.text,
        a.sent_at = statement_timestamp() as is_due
), message as (
    insert into pgqueue.jobs_live as j (stored_by_pgqueue, task, queue, args)
    select true, t.task, 'pgqueue.alerts', m.args
    from (
        select jsonb_build_object(
            'alert', r.id, 'message', r.messages, 'kind', r.kind, 'subject', r.subject, 'queue', r.queue, 'job_id', r.job_id,
            'count', r.count, 'first_at', r.first_at, 'text', r.text) as args
        from raised r join told d on d.kind = r.kind and d.subject = r.subject
        where r.is_due and d.rank <= %(most)s::int
        union all
        select jsonb_build_object(
            'alert', min(r.id), 'message', (array_agg(r.messages order by r.id))[1], 'kind', 'many', 'subject', count(*) || ' more',
            'queue', null, 'job_id', null, 'count', count(*), 'first_at', min(r.first_at),
            'text', format('%%s more alert%%s within a minute, of %%s%%s', count(*), case when count(*) > 1 then 's' else '' end,
                           array_to_string((array_agg(r.kind || ' ' || r.subject order by r.id))[1:5], ', '),
                           case when count(*) > 5 then ' and others' else '' end))
        from raised r join told d on d.kind = r.kind and d.subject = r.subject
        where r.is_due and d.rank > %(most)s::int
        having count(*) > 0
    ) m cross join target t
    returning pgqueue.wake(j.queue)
), resolved as (
    update pgqueue.alerts a set resolved_at = statement_timestamp()
    where a.resolved_at is null and a.last_at < statement_timestamp() - make_interval(secs => %(calm)s::float8)
      and not exists (select from cause c where c.kind = a.kind and c.subject = a.subject)
    returning a.id, a.kind, a.subject, a.text
)
select r.id, r.kind, r.subject, r.text, true as opened
from raised r where not exists (select from pgqueue.alerts o where o.id = r.id)
union all
select d.id, d.kind, d.subject, d.text, false from resolved d
