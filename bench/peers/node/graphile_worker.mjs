import { makeWorkerUtils, run } from "graphile-worker";
import { DSN, jobStarted, play, serve } from "./peer.mjs";

const preset = {
  worker: {
    connectionString: DSN,
    concurrentJobs: 24,
    maxPoolSize: 25,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  },
};

async function withUtils(use) {
  const utils = await makeWorkerUtils({ preset });
  await use(utils);
  await utils.release();
}

await play({
  setup: () => withUtils((utils) => utils.migrate()),
  produce: () =>
    withUtils((utils) =>
      serve({
        enqueueMany: async (jobs) => {
          await utils.addJobs(jobs.map((payload) => ({ identifier: "noop", payload })));
        },
      }),
    ),
  work: () => run({ preset, taskList: { noop: async () => jobStarted() } }),
});
