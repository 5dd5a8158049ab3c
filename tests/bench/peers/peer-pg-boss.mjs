// pg-boss: fetches a batch, completes it in one statement, keeps the rows for a week. Has flows of jobs.

import { setTimeout as pause } from 'node:timers/promises'

import { measure, require } from './measure.mjs'

const { PgBoss } = require('pg-boss')

const BULK = { jobs_per_call: 2000, calls_at_once: 2 }
const THROUGHPUT = { batchSize: 2000, localConcurrency: 4, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }
const LATENCY = { batchSize: 10, localConcurrency: 4, pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5 }
const FLOWS = { flows_per_call: 200, calls_at_once: 2, batchSize: 2000, workers: 2 }

let boss

/** Starts workers on `queue`; resolves to what stops them. */
async function start(queue, options, handler) {
  const id = await boss.work(queue, options, handler)
  return () => boss.offWork(queue, { id })
}

async function query(sql) {
  return (await boss.getDb().executeSql(sql)).rows
}

async function anyLeft(queue) {
  const [row] = await query(
    `SELECT EXISTS (SELECT FROM pgboss.job WHERE name = '${queue}' AND state < 'completed') AS any`,
  )
  return row.any
}

await measure({
  name: 'pg-boss',
  settings: { bulk: BULK, throughput: THROUGHPUT, latency: { notify: true, ...LATENCY }, flows: FLOWS },

  async open(url) {
    boss = new PgBoss({ connectionString: url, max: 12, useListenNotify: true })
    boss.on('error', console.error)
    await boss.start()
    await boss.createQueue('nothing')
    await boss.createQueue('one', { notify: true })
    await boss.createQueue('step', { notify: true })
  },

  async enqueue(count) {
    const add = async () => {
      while (count > 0) {
        const length = Math.min(count, BULK.jobs_per_call)
        count -= length
        await boss.insert('nothing', Array.from({ length }, () => ({ data: {} })))
      }
    }
    await Promise.all(Array.from({ length: BULK.calls_at_once }, add))
  },

  work: (started) => start('nothing', THROUGHPUT, async (jobs) => started(jobs.length)),
  query,
  unfinished: () => anyLeft('nothing'),

  enqueueOne: (data) => boss.send('one', data),
  workAtOnce: (started) => start('one', LATENCY, async (jobs) => jobs.forEach(({ data }) => started(data))),

  workflowsCount: 2000,
  workflowSteps: 5,
  async workflows(count, steps) {
    let starts = count
    let left = count * steps
    const handler = async (jobs) => void (left -= jobs.length)
    const workers = []
    for (let i = 0; i < FLOWS.workers; i++) workers.push(await boss.work('step', FLOWS, handler))
    const wake = () => workers.forEach((id) => boss.notifyWorker(id))
    boss.on('flow', wake)

    const add = async () => {
      while (starts > 0) {
        const length = Math.min(starts, FLOWS.flows_per_call)
        starts -= length
        await boss.flow(Array.from({ length }, (_, flow) => chain(flow, steps)).flat())
      }
    }
    const release = async () => {
      while (left > 0) {
        await boss.resolveFlow()
        await pause(1)
      }
    }
    await Promise.all([release(), ...Array.from({ length: FLOWS.calls_at_once }, add)])
    while (await anyLeft('step')) await pause(2)

    boss.off('flow', wake)
    await boss.offWork('step')
  },
})

/** The jobs of one workflow: each waits for the one before it. */
function chain(flow, steps) {
  return Array.from({ length: steps }, (_, step) => ({
    ref: `${flow}/${step}`,
    name: 'step',
    dependsOn: step === 0 ? [] : [`${flow}/${step - 1}`],
  }))
}
