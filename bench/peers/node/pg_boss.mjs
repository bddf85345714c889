import pg from "pg";
import { PgBoss } from "pg-boss";
import { DSN, QUEUE, jobStarted, now, play, serve } from "./peer.mjs";

const boss = new PgBoss({ connectionString: DSN, useListenNotify: true });
boss.on("error", console.error);

/** One job of a batch, settled on its own. */
function noop({ id }) {
  jobStarted();
  return { id, status: "completed" };
}

await play({
  setup: async () => {
    await boss.start();
    await boss.createQueue(QUEUE, { notify: true, partition: true });
    await boss.stop();
  },
  produce: async () => {
    await boss.start();
    const client = new pg.Client(DSN);
    await client.connect();
    const db = { executeSql: (text, values) => client.query(text, values) };
    await serve({
      enqueueMany: async (jobs) => {
        await boss.insert(QUEUE, jobs.map((data) => ({ data })));
      },
      enqueueOne: async (job) => {
        await client.query("BEGIN");
        await boss.send(QUEUE, job, { db });
        const before = now();
        await client.query("COMMIT");
        return before;
      },
    });
    await client.end();
    await boss.stop();
  },
  work: async () => {
    await boss.start();
    const options = { batchSize: 500, perJobResults: true, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 };
    await boss.work(QUEUE, options, async (jobs) => jobs.map(noop));
  },
});
