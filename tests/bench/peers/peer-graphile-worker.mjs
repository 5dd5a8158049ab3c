// graphile-worker: keeps a local queue of claimed jobs, deletes a job when it is done.

import { measure, require } from './measure.mjs'

const { Logger, WorkerPreset, makeWorkerUtils, runMigrations, run } = require('graphile-worker')
const { Pool } = require('pg')

const BULK = { jobs_per_call: 2000, calls_at_once: 2 }
// Claims 2,000 jobs per statement and finishes as many as were done meanwhile by another. NOTIFY wakes it, so
// the same setting has the least latency too: fewer workers or no local queue made no difference.
const WORKER = {
  concurrentJobs: 24,
  maxPoolSize: 26,
  localQueue: { size: 2000 },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
}

const silent = new Logger(() => () => {})
let pool
let utils

/** A running worker; resolves to what stops it. */
async function start(taskList) {
  const runner = await run({
    pgPool: pool,
    taskList,
    noHandleSignals: true,
    preset: { extends: [WorkerPreset], worker: { ...WORKER, logger: silent } },
  })
  return () => runner.stop()
}

await measure({
  name: 'graphile-worker',
  settings: { bulk: BULK, worker: WORKER },

  async open(url) {
    pool = new Pool({ connectionString: url, max: WORKER.maxPoolSize })
    pool.on('error', console.error)
    pool.on('connect', (client) => client.on('error', console.error))
    await runMigrations({ pgPool: pool, logger: silent })
    utils = await makeWorkerUtils({ pgPool: pool, logger: silent })
  },

  async enqueue(count) {
    const add = async () => {
      while (count > 0) {
        const length = Math.min(count, BULK.jobs_per_call)
        count -= length
        await utils.addJobs(Array.from({ length }, () => ({ identifier: 'nothing', payload: {} })))
      }
    }
    await Promise.all(Array.from({ length: BULK.calls_at_once }, add))
  },

  work: (started) => start({ nothing: async () => started(1) }),

  query: async (sql) => (await pool.query(sql)).rows,
  async unfinished() {
    const [row] = await this.query('SELECT EXISTS (SELECT FROM graphile_worker._private_jobs) AS any')
    return row.any
  },

  enqueueOne: (data) => utils.addJob('one', data),
  workAtOnce: (started) => start({ one: async (data) => started(data) }),
})
