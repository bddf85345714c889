// What the Node systems share: a job's start reported as bench/probe.py does it, and what a process is asked to do.
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";

export const DSN = process.env.BENCH_DSN;
export const QUEUE = "bench";

const pipe = Number(process.env.BENCH_PIPE ?? -1);
const jobs = Number(process.env.BENCH_JOBS ?? 0);
let started = 0;

/** Seconds of the clock that Python calls time.monotonic(). */
export const now = () => Number(process.hrtime.bigint()) / 1e9;

export function jobStarted() {
  started += 1;
  if (jobs === 0 || started === 1 || started === jobs) writeSync(pipe, `${now()}\n`);
}

/** Run the role that the command line names. */
export async function play(roles) {
  await roles[process.argv[2]]();
}

/** Enqueue what the lines of standard input ask for, and answer each line with the time just before its commit. */
export async function serve({ enqueueMany, enqueueOne }) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { many, one } = JSON.parse(line);
    const before = many ? await enqueueMany(many) : await enqueueOne(one);
    process.stdout.write(`${before ?? now()}\n`);
  }
}
