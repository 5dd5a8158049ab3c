"""Procrastinate: fetches one job per statement, keeps the rows and an event per transition."""

import asyncio
import logging

import procrastinate
from measure import Peer, measure
from psycopg_pool import AsyncConnectionPool

BULK = {"jobs_per_call": 2000, "calls_at_once": 2}
# A worker has one fetch under way at a time, so several of them share the process.
THROUGHPUT = {"workers": 8, "concurrency": 2, "listen_notify": False}
LATENCY = {"workers": 4, "concurrency": 2, "listen_notify": True}
# Saves round trips around each statement: no BEGIN and COMMIT, no probe of the connection before its use.
POOL = {"size": 20, "autocommit": True, "check": None}


async def autocommit(connection):
    await connection.set_autocommit(POOL["autocommit"])


def pool(**options):
    return AsyncConnectionPool(**{**options, "check": POOL["check"]})


class Procrastinate(Peer):
    name = "procrastinate"
    settings = {"bulk": BULK, "throughput": THROUGHPUT, "latency": LATENCY, "pool": POOL}

    async def open(self, url):
        connector = procrastinate.PsycopgConnector(
            pool_factory=pool,
            conninfo=url,
            min_size=POOL["size"],
            max_size=POOL["size"],
            configure=autocommit,
        )
        self.app = procrastinate.App(connector=connector)
        await self.app.open_async()
        await self.app.schema_manager.apply_schema_async()

        @self.app.task(name="nothing", queue="nothing")
        async def nothing():
            self.started()

        @self.app.task(name="one", queue="one")
        async def one(at):
            self.started(at)

        self.nothing, self.one = nothing, one

    async def enqueue(self, count):
        left = count

        async def add():
            nonlocal left
            while left > 0:
                length = min(left, BULK["jobs_per_call"])
                left -= length
                await self.nothing.batch_defer_async(*({} for _ in range(length)))

        await asyncio.gather(*(add() for _ in range(BULK["calls_at_once"])))

    async def work(self, started):
        self.started = started
        return self.start("nothing", **THROUGHPUT)

    async def work_at_once(self, started):
        self.started = started
        return self.start("one", **LATENCY)

    def start(self, queue, workers, **options):
        """Starts workers in this process; returns what stops them."""
        running = [
            asyncio.create_task(
                self.app.run_worker_async(queues=[queue], install_signal_handlers=False, **options)
            )
            for _ in range(workers)
        ]

        async def stop():
            for worker in running:
                worker.cancel()
            await asyncio.gather(*running, return_exceptions=True)

        return stop

    async def query(self, sql):
        async with self.app.connector.pool.connection() as connection:
            cursor = await connection.execute(sql)
            return await cursor.fetchone() if cursor.description else None

    async def unfinished(self):
        [left] = await self.query("SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status <> 'succeeded')")
        return left

    async def enqueue_one(self, at):
        await self.one.defer_async(at=at)


logging.basicConfig(level=logging.WARNING)
measure(Procrastinate())
