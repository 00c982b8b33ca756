"""MLflow's job store on SQLite, asked by the driver in the same words as the other contenders.

The loads are those of ../harness/src/load.rs, because a store in Python cannot be asked by code in Rust.
"""

import itertools
import json
import logging
import statistics
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

from mlflow.entities._job_status import JobStatus
from mlflow.store.jobs.sqlalchemy_store import SqlAlchemyJobStore
from mlflow.store.tracking.dbmodels.models import SqlJob

PARAMS = '{"to":"ada@example.org","template":"welcome","attempt":1}'
BATCH = 100
WORKERS = 4
CREATING = 1.2
WORKING = 3.0
CALLERS = {"create-1": 1, "create-16": 16, "create-64": 64}
OPERATIONS = [*CALLERS, "work", "first-page", "walk"]


def about():
    return {
        "name": "mlflow",
        "version": version("mlflow-skinny"),
        "settings": "SqlAlchemyJobStore as it opens; work lists what is pending, and "
        f"{WORKERS} threads start and finish each",
        "durability": "rollback journal, FULL",
        "operations": OPERATIONS,
    }


def fill(store, jobs):
    """Writes rows as create_job does, in one transaction: filling is not measured."""
    now = int(time.time() * 1000)
    with store.ManagedSessionMaker(read_only=False) as session:
        for start in range(0, jobs, 10_000):
            session.execute(
                SqlJob.__table__.insert(),
                [
                    {
                        "id": str(uuid.uuid4()),
                        "creation_time": now + number,
                        "job_name": "mail",
                        "params": PARAMS,
                        "status": JobStatus.PENDING.to_int(),
                        "retry_count": 0,
                        "last_update_time": now + number,
                        "workspace": "default",
                    }
                    for number in range(start, min(start + 10_000, jobs))
                ],
            )


def create(store, callers):
    created = [0] * callers
    failures = []
    start = time.monotonic()

    def call(caller):
        try:
            while time.monotonic() - start < CREATING:
                store.create_job("mail", PARAMS)
                created[caller] += 1
        except Exception as failure:  # a caller that fails must not be taken for a slow one
            failures.append(failure)

    threads = [threading.Thread(target=call, args=(caller,)) for caller in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(created) / (time.monotonic() - start)


def work(store):
    start = time.monotonic()

    def run(jobs):
        finished = 0
        for job in jobs:
            if time.monotonic() - start >= WORKING:
                break
            store.start_job(job.job_id)
            store.finish_job(job.job_id, "")
            finished += 1
        return finished

    finished = 0
    with ThreadPoolExecutor(WORKERS) as workers:
        while time.monotonic() - start < WORKING:
            # Its pages are counted from the start of the list, so that one list over several pages would pass over jobs
            # when those before them are finished.
            pending = list(itertools.islice(store.list_jobs(statuses=[JobStatus.PENDING]), BATCH))
            if not pending:
                break
            finished += sum(workers.map(run, [pending[worker::WORKERS] for worker in range(WORKERS)]))
    return finished / (time.monotonic() - start)


def first_page(store):
    times = []
    for _ in range(20):
        start = time.monotonic()
        jobs = list(itertools.islice(store.list_jobs(), BATCH))
        times.append(time.monotonic() - start)
        assert len(jobs) == BATCH, f"a page had {len(jobs)} jobs"
    return statistics.median(times) * 1000


def walk(store):
    start = time.monotonic()
    jobs = sum(1 for _ in store.list_jobs())
    assert jobs == 40_000, f"a walk over 40,000 jobs gave {jobs}"
    return jobs / (time.monotonic() - start)


def measure(store, operation):
    if operation in CALLERS:
        return create(store, CALLERS[operation])
    return {"work": work, "first-page": first_page, "walk": walk}[operation](store)


def answer(store, request):
    if request == "about":
        return {"about": about()}
    [(verb, value)] = request.items()
    if verb == "fill":
        fill(store, value)
        return "done"
    return {"figure": {"value": measure(store, value), "again": 0}}


def main():
    # Standard output is for answers only.
    logging.disable(logging.WARNING)
    store = SqlAlchemyJobStore(f"sqlite:///{sys.argv[1]}")
    for line in sys.stdin:
        try:
            said = answer(store, json.loads(line))
        except Exception as failure:
            said = {"failed": f"{type(failure).__name__}: {failure}"}
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
