"""What is measured, in which order and by which clock: the same for both peers on Python.

measure.mjs is its twin.
"""

import asyncio
import json
import os
import platform
import sys
import threading
import time
import traceback
from importlib.metadata import version

# Most time one measurement may take.
SECONDS_MAX = 120
# Tasks that run before the clock does: connections are open and statements prepared then.
WARM_UP_TASKS = 500
# Rounds of enqueueing and draining; the answer has the medians. None is begun after `ROUND_SECONDS_MAX`.
ROUNDS = 3
ROUND_SECONDS_MAX = 20
# How often the database is asked whether the last task is committed, once its handler has run.
COMMITTED_POLL_SECONDS = 0.002
LATENCY_RATE = 100
LATENCY_SECONDS = 10


class Peer:
    """What a peer provides. Its methods run on the event loop and must not block it."""

    name: str  # its package
    settings: dict
    workflows_count = None
    workflow_steps = None

    async def open(self, url):
        """Installs the schema into an empty database and connects."""
        raise NotImplementedError

    async def enqueue(self, count):
        """Commits `count` tasks through the bulk interface."""
        raise NotImplementedError

    async def work(self, started):
        """Starts a worker in the setting with the most throughput; returns an async function that stops it.

        Its handlers call `started()`, from any thread.
        """
        raise NotImplementedError

    async def query(self, sql):
        """Runs a statement outside of a transaction and returns the first row, or None."""
        raise NotImplementedError

    async def unfinished(self):
        """Whether the database holds a task that is not finished."""
        raise NotImplementedError

    async def enqueue_one(self, at):
        """Commits one task that carries `at`."""
        raise NotImplementedError

    async def work_at_once(self, started):
        """As `work`, in the setting with the least latency; handlers call `started(at)`."""
        raise NotImplementedError

    async def workflows(self, count, steps):
        """Runs `count` workflows, from the first start to the last commit, if there is `workflows_count`."""
        raise NotImplementedError


def measure(peer):
    """Measures a peer, prints the answer and ends the process."""
    url, tasks = sys.argv[1], int(sys.argv[2])
    try:
        result, code = asyncio.run(measured(peer, url, tasks)), 0
    except Exception as error:  # whatever it is, the caller shall read it
        traceback.print_exc()
        result, code = {"peer": peer.name, "error": str(error) or repr(error)}, 1
    os.write(3, json.dumps(result).encode())  # run.sh reads it there
    os._exit(code)  # threads of a peer that hang must not hold the process


async def measured(peer, url, tasks):
    await bounded("opening", peer.open(url))
    await bounded("warming up", drain(peer, WARM_UP_TASKS))
    rounds = []
    begin = time.perf_counter()
    while len(rounds) < ROUNDS and time.perf_counter() - begin < ROUND_SECONDS_MAX:
        rounds.append(await bounded("draining", drain(peer, tasks)))
    waits = await bounded("latency", latency(peer))
    workflows_per_s = await workflows(peer) if peer.workflows_count else None
    return {
        "peer": peer.name,
        "version": version(peer.name),
        "settings": {"runtime": f"python {platform.python_version()}", **peer.settings},
        "tasks": tasks,
        "enqueue_per_s": round(tasks / median([enqueue for enqueue, _ in rounds]), 2),
        "drain_per_s": round(tasks / median([drained for _, drained in rounds]), 2),
        "latency_ms": {
            "p50": percentile(waits, 50),
            "p99": percentile(waits, 99),
            "rate": LATENCY_RATE,
            "samples": len(waits),
        },
        "workflows_per_s": workflows_per_s,
        "workflow_steps": peer.workflow_steps,
    }


class Arrivals:
    """Counts calls from any thread, and wakes the event loop at the last one."""

    def __init__(self, expected):
        self.left = expected
        self.lock = threading.Lock()
        self.all = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def one(self):
        with self.lock:
            self.left -= 1
            last = self.left == 0
        if last:
            self.loop.call_soon_threadsafe(self.all.set)


async def drain(peer, count):
    """Preloads `count` tasks, then lets one worker finish them: from its start to the commit of the last one.

    Returns the seconds of both.
    """
    enqueue_seconds = await timed(peer.enqueue(count))
    await tidy(peer)
    arrivals = Arrivals(count)
    begin = time.perf_counter()
    stop = await peer.work(arrivals.one)
    await arrivals.all.wait()
    while await peer.unfinished():
        await asyncio.sleep(COMMITTED_POLL_SECONDS)
    drain_seconds = time.perf_counter() - begin
    await stop()
    return enqueue_seconds, drain_seconds


async def latency(peer):
    """Milliseconds from before the call that enqueues to the start of the handler, sorted; at a steady rate."""
    await tidy(peer)
    total = LATENCY_RATE * LATENCY_SECONDS
    waits = []
    arrivals = Arrivals(total)

    def started(at):
        waits.append((time.perf_counter() - at) * 1000)
        arrivals.one()

    stop = await peer.work_at_once(started)
    await asyncio.sleep(1)  # the worker listens by now
    begin = time.perf_counter()
    sent = []
    for i in range(total):
        await asyncio.sleep(max(0, begin + i / LATENCY_RATE - time.perf_counter()))
        # Not awaited: a slow one must not slow the rate down.
        sent.append(asyncio.create_task(peer.enqueue_one(time.perf_counter())))
    await asyncio.gather(*sent)
    await arrivals.all.wait()
    await stop()
    return sorted(waits)


async def workflows(peer):
    """How many workflows per second, from the first start to the commit of the last step."""
    count, steps = peer.workflows_count, peer.workflow_steps
    await bounded("warming workflows up", peer.workflows(count // 4, steps))
    await tidy(peer)
    return round(count / await bounded("workflows", timed(peer.workflows(count, steps))), 2)


async def tidy(peer):
    """Does at once what autovacuum does within a minute on a server in use.

    Without statistics PostgreSQL takes the new tables for empty and now and then chooses a plan that is ten
    times slower.
    """
    await peer.query("VACUUM (ANALYZE)")


async def timed(run):
    begin = time.perf_counter()
    await run
    return time.perf_counter() - begin


async def bounded(what, run):
    # Not asyncio.timeout: a peer that swallows the cancellation would be waited for.
    task = asyncio.ensure_future(run)
    done, _ = await asyncio.wait([task], timeout=SECONDS_MAX)
    if not done:
        raise TimeoutError(f"{what} took longer than {SECONDS_MAX} s")
    return task.result()


def median(numbers):
    return sorted(numbers)[len(numbers) // 2]


def percentile(ordered, percent):
    return round(ordered[min(len(ordered) - 1, -(-len(ordered) * percent // 100) - 1)], 2)
