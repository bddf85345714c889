import { Queue, Worker } from "bullmq";
import { QUEUE, jobStarted, now, play, serve } from "./peer.mjs";

const connection = { path: process.env.BENCH_REDIS };

await play({
  produce: async () => {
    const queue = new Queue(QUEUE, { connection });
    await serve({
      enqueueMany: async (jobs) => {
        await queue.addBulk(jobs.map((data) => ({ name: "noop", data })));
      },
      enqueueOne: async (job) => {
        const before = now();
        await queue.add("noop", job);
        return before;
      },
    });
    await queue.close();
  },
  work: () => new Worker(QUEUE, async ({ data }) => jobStarted(data), { connection, concurrency: 100 }),
});
