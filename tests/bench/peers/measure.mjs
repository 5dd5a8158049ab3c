// What is measured, in which order and by which clock: the same for both peers on Node. measure.py is its twin.

import { readFileSync, writeSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

/** Most time one measurement may take. */
const SECONDS_MAX = 120
/** Rounds of enqueueing and draining; the answer has the medians. None is begun after `ROUND_SECONDS_MAX`. */
const ROUNDS = 3
const ROUND_SECONDS_MAX = 20
/** How often the database is asked whether the last task is committed, once its handler has run. */
const COMMITTED_POLL_MS = 2
const LATENCY_RATE = 100
const LATENCY_SECONDS = 10

/** `require` that finds what install.sh put into the scratch folder. */
export const require = createRequire(join(process.env.PEERS_SCRATCH, 'package.json'))

/** The version of a package that is installed there. */
function versionOf(name) {
  return JSON.parse(readFileSync(join(process.env.PEERS_SCRATCH, 'node_modules', name, 'package.json'))).version
}

/**
 * Measures a peer and prints the answer.
 *
 * A peer is an object of
 * - `name`, which is its package, and `settings`: what the answer says of it;
 * - `open(url)`: installs the schema into an empty database and connects;
 * - `enqueue(count)`: commits `count` tasks through the bulk interface;
 * - `work(started)`: starts a worker in the setting with the most throughput, that calls `started(count)` from
 *   its handlers; resolves to a function that stops it;
 * - `query(sql)`: runs a statement and resolves to its rows;
 * - `unfinished()`: whether the database holds a task that is not finished;
 * - `enqueueOne(data)`, `workAtOnce(started)`: the same for single tasks in the setting with the least latency,
 *   where `started(data)` hears of each task;
 * - `workflows(count, steps)`, if it has any: runs them from the first start to the last commit.
 *   `workflowsCount` and `workflowSteps` go with it.
 */
export async function measure(peer) {
  const [url, tasksText] = process.argv.slice(2)
  const tasks = Number(tasksText)
  try {
    await bounded('opening', peer.open(url))
    await bounded('warming up', drain(peer, tasks)) // a whole round: V8 compiles while it runs
    const rounds = []
    const begin = performance.now()
    while (rounds.length < ROUNDS && performance.now() - begin < ROUND_SECONDS_MAX * 1000) {
      rounds.push(await bounded('draining', drain(peer, tasks)))
    }
    const waits = await bounded('latency', latency(peer))
    const workflowsPerSecond = peer.workflows ? await workflows(peer) : null
    answer({
      peer: peer.name,
      version: versionOf(peer.name),
      settings: { runtime: `node ${process.versions.node}`, ...peer.settings },
      tasks,
      enqueue_per_s: round(tasks / median(rounds.map((round) => round.enqueueSeconds))),
      drain_per_s: round(tasks / median(rounds.map((round) => round.drainSeconds))),
      latency_ms: {
        p50: percentile(waits, 50),
        p99: percentile(waits, 99),
        rate: LATENCY_RATE,
        samples: waits.length,
      },
      workflows_per_s: workflowsPerSecond,
      workflow_steps: peer.workflowSteps ?? null,
    })
    process.exit(0)
  } catch (error) {
    console.error(error)
    answer({ peer: peer.name, error: String(error.message ?? error) })
    process.exit(1)
  }
}

/** Preloads `count` tasks, then lets one worker finish them: from its start to the commit of the last one. */
async function drain(peer, count) {
  const enqueueSeconds = await timed(() => peer.enqueue(count))
  await tidy(peer)
  const all = Promise.withResolvers()
  let left = count
  let stop
  const drainSeconds = await timed(async () => {
    stop = await peer.work((started) => {
      left -= started
      if (left <= 0) all.resolve()
    })
    await all.promise
    while (await peer.unfinished()) await pause(COMMITTED_POLL_MS)
  })
  await stop()
  return { enqueueSeconds, drainSeconds }
}

/** Milliseconds from before the call that enqueues to the start of the handler, sorted; at a steady rate. */
async function latency(peer) {
  await tidy(peer)
  const total = LATENCY_RATE * LATENCY_SECONDS
  const waits = []
  const all = Promise.withResolvers()
  const stop = await peer.workAtOnce(({ at }) => {
    waits.push(performance.now() - at)
    if (waits.length === total) all.resolve()
  })
  await pause(1000) // the worker listens by now
  const failed = Promise.withResolvers()
  const send = async () => {
    const begin = performance.now()
    for (let i = 0; i < total; i++) {
      await pause(Math.max(0, begin + (i * 1000) / LATENCY_RATE - performance.now()))
      // Not awaited: a slow one must not slow the rate down.
      peer.enqueueOne({ at: performance.now() }).catch(failed.reject)
    }
    await all.promise
  }
  await Promise.race([send(), failed.promise])
  await stop()
  return waits.sort((a, b) => a - b)
}

/** How many workflows per second, from the first start to the commit of the last step. */
async function workflows({ workflowsCount: count, workflowSteps: steps, ...peer }) {
  await bounded('warming workflows up', peer.workflows(count / 4, steps))
  await tidy(peer)
  return round(count / (await bounded('workflows', timed(() => peer.workflows(count, steps)))))
}

/**
 * Does at once what autovacuum does within a minute on a server in use. Without statistics PostgreSQL takes the
 * new tables for empty and now and then chooses a plan that is ten times slower.
 */
async function tidy(peer) {
  await peer.query('VACUUM (ANALYZE)')
}

async function timed(run) {
  const begin = performance.now()
  await run()
  return (performance.now() - begin) / 1000
}

function bounded(what, promise) {
  const late = pause(SECONDS_MAX * 1000, undefined, { ref: false }).then(() => {
    throw new Error(`${what} took longer than ${SECONDS_MAX} s`)
  })
  return Promise.race([promise, late])
}

/** run.sh reads the answer from descriptor 3. */
function answer(object) {
  writeSync(3, JSON.stringify(object))
}

function median(numbers) {
  return numbers.sort((a, b) => a - b)[Math.floor(numbers.length / 2)]
}

function percentile(sorted, percent) {
  return round(sorted[Math.min(sorted.length - 1, Math.ceil((sorted.length * percent) / 100) - 1)])
}

function round(number) {
  return Math.round(number * 100) / 100
}
