-- Sends a signal to each job whose children have all ended: `gates` are nodes that have ended, or that must be looked at again.
-- The children of a job are a workflow, and the gate of that workflow for which no node waits is the last one to end. The job waits for the
-- signal gather:<workflow>. If someone retries children, the gate ends again, and another signal is sent.
-- Never waits for the row of the parent. If another transaction has locked this row, or if the parent cannot go on, because a
-- trigger of the user raises an error, the gate is left to the leader.
-- The end of the last child is kept, as move_nodes.sql explains. Therefore the signal is delivered at once, and not during COMMIT as other
-- signals are: an error during COMMIT would roll back the end of the child. A parent that has ended gets its signal, too, because it can be
-- revived.
-- Runs as the owner, because a role that ends jobs need not be allowed to write signals. A role that calls it directly can send nothing
-- that was not sent when the gate ended: the end of the gate is the key of its signal.
-- Uses nodes_pkey, workflows_pkey, dependencies_pkey and jobs_live_id_key. Only resolve() calls it, with the gates locked. Locks the
-- parents.
create or replace function pgqueue.signal_parents(gates bigint[])
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    over record;
begin
    for over in
        select n.id, w.id as workflow, w.parent_job, n.ended_at
        from unnest(gates) g (id)
        cross join lateral (select n.* from pgqueue.nodes n where n.id = g.id and n.is_gate and n.state is not null offset 0) n
        cross join lateral (select w.id, w.parent_job from pgqueue.workflows w
                            where w.id = n.workflow_id and w.parent_job is not null offset 0) w
        where not exists (select from pgqueue.dependencies d where d.on_id = n.id)
        order by w.parent_job
    loop
        perform from pgqueue.jobs_live l where l.id = over.parent_job for no key update skip locked;
        if not found and exists (select from pgqueue.jobs_live l where l.id = over.parent_job) then
            perform pgqueue.leave_to_leader(array[over.id]);
        else
            begin
                insert into pgqueue.signals (job_id, name, key)
                values (over.parent_job, 'gather:' || over.workflow, over.ended_at::text)
                on conflict (job_id, name, key) where key is not null do nothing;
                perform pgqueue.deliver_signal(over.parent_job, 'gather:' || over.workflow);
            exception when others or assert_failure then
                perform pgqueue.leave_to_leader(array[over.id], 'The parent could not go on', sqlerrm);
            end;
        end if;
    end loop;
end
$function$;
