"""DBOS: every task is a workflow, each step of one is a row, and what has finished is kept."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy
from dbos import DBOS, DBOSClient
from measure import Peer, measure

BULK = {"workflows_per_transaction": 1000, "calls_at_once": 2}
# No probe of a connection before its use. More threads do not help: the interpreter runs one at a time.
ENGINE = {"max_executor_threads": 16, "sys_db_pool_size": 24, "db_engine_kwargs": {"pool_pre_ping": False}}
# No limit: one statement claims all there is, and the threads take it from there.
THROUGHPUT = {"worker_concurrency": None, "polling_interval_sec": 0.05}
LATENCY = {"worker_concurrency": None, "polling_interval_sec": 0.001}
# Called rather than started: the thread that calls a workflow runs it, which spares a hand-over.
WORKFLOWS = {"called_at_once": 8}
PRODUCER_THREADS = 8
# A worker has seen a new queue by then.
NEW_QUEUE_SECONDS = 2
VERSION = "1"


class Dbos(Peer):
    name = "dbos"
    settings = {
        "engine": ENGINE,
        "bulk": BULK,
        "throughput": THROUGHPUT,
        "latency": LATENCY,
        "workflows": WORKFLOWS,
    }
    workflows_count = 600
    workflow_steps = 5

    async def open(self, url):
        # SQLAlchemy knows one spelling of the scheme only.
        url = "postgresql://" + url.split("://", 1)[1]
        await asyncio.to_thread(self.launch, url)

    def launch(self, url):
        DBOS(
            config={
                "name": "drover-bench",
                "system_database_url": url,
                "application_version": VERSION,
                "log_level": "WARNING",
                **ENGINE,
            }
        )

        @DBOS.workflow(name="nothing")
        def nothing():
            self.started()

        @DBOS.workflow(name="one")
        def one(at):
            self.started(at)

        @DBOS.step()
        def step():
            pass

        @DBOS.workflow(name="linear")
        def linear(steps):
            for _ in range(steps):
                step()

        self.one, self.linear = one, linear
        DBOS.launch()
        # A worker looks for new queues once a second only. So this one is there from the beginning, and stands
        # still until `work` lets it run.
        self.queue = DBOS.register_queue("nothing", **{**THROUGHPUT, "worker_concurrency": 0})
        self.client = DBOSClient(system_database_url=url)
        self.engine = sqlalchemy.create_engine(url.replace("://", "+psycopg://", 1))
        self.producers = ThreadPoolExecutor(PRODUCER_THREADS)

    async def enqueue(self, count):
        options = {"workflow_name": "nothing", "queue_name": "nothing", "app_version": VERSION}

        def add(length):
            with self.engine.begin() as connection:
                for _ in range(length):
                    self.client.enqueue_in_transaction(connection, options)

        size = BULK["workflows_per_transaction"]
        lengths = [min(size, count - done) for done in range(0, count, size)]
        await self.in_threads(BULK["calls_at_once"], add, lengths)

    async def work(self, started):
        self.started = started
        await self.queue.set_worker_concurrency_async(THROUGHPUT["worker_concurrency"])

        async def stop():
            await self.queue.set_worker_concurrency_async(0)

        return stop

    async def work_at_once(self, started):
        self.started = started
        # Registered here only: its polls would take time from what is measured before and after.
        await DBOS.register_queue_async("one", **LATENCY)
        await asyncio.sleep(NEW_QUEUE_SECONDS)

        async def stop():
            await DBOS.delete_queue_async("one")

        return stop

    async def query(self, sql):
        return await asyncio.to_thread(self.query_now, sql)

    def query_now(self, sql):
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            result = connection.execute(sqlalchemy.text(sql))
            return result.first() if result.returns_rows else None

    async def unfinished(self):
        [left] = await self.query("SELECT EXISTS (SELECT FROM dbos.workflow_status WHERE status <> 'SUCCESS')")
        return left

    async def enqueue_one(self, at):
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self.producers, DBOS.enqueue_workflow, "one", self.one, at)

    async def workflows(self, count, steps):
        await self.in_threads(WORKFLOWS["called_at_once"], self.linear, [steps] * count)

    async def in_threads(self, threads, function, arguments):
        """Calls `function` with each of the arguments, in so many threads."""
        with ThreadPoolExecutor(threads) as pool:
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(pool, function, argument) for argument in arguments))


measure(Dbos())
