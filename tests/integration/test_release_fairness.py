"""Rule 4: a huge job, or a key with a thousand jobs, starves nobody.

One worker with one slot takes the released shards in the order of their release, as Redis hands them out.
"""

from collections import Counter, deque
from collections.abc import Callable

from store.dispatch import Released
from store.session import Store
from tests.integration.ledger_steps import new_key, run, submit

MakeStore = Callable[..., Store]


class Worker:
    """Runs released shards in their order and keeps the order of the jobs that it served."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.queue: deque[Released] = deque()
        self.served: list[str] = []

    def submit(self, key_id: int, shards: int, jobs: int = 1) -> list[str]:
        """Jobs of so many one-document shards; their ids."""
        submitted = [submit(self.store, key_id, shards) for _ in range(jobs)]
        for _, released in submitted:
            self.queue.extend(released)
        return [job.id for job, _ in submitted]

    def run(self, rounds: int) -> Counter[str]:
        """Run so many shards; how many each job got."""
        before = len(self.served)
        for _ in range(rounds):
            if not self.queue:
                break
            shard = self.queue.popleft()
            self.queue.extend(run(self.store, shard.shard_id).released)
            self.served.append(shard.job)
        return Counter(self.served[before:])


def small_window(make_store: MakeStore) -> Worker:
    return Worker(make_store(shard_documents=1, unserved_shards=4))


def test_a_small_job_is_not_behind_a_huge_one_of_its_key(make_store: MakeStore, key_id: int) -> None:
    worker = small_window(make_store)
    worker.submit(key_id, 200)
    worker.run(5)
    (small,) = worker.submit(key_id, 3)
    assert worker.run(12)[small] == 3


def test_keys_share_alike_however_many_jobs_they_have(make_store: MakeStore, key_id: int) -> None:
    worker = small_window(make_store)
    crowd = worker.submit(key_id, 1, jobs=30)
    (single,) = worker.submit(new_key(worker.store), 15)
    worker.run(4)  # what was released before the second key came
    served = worker.run(20)
    assert 8 <= served[single] <= 12
    assert 8 <= sum(served[job] for job in crowd) <= 12


def test_ten_keys_share_alike_though_one_had_all_that_was_out(make_store: MakeStore, key_id: int) -> None:
    """Within a tenth of equal: each was due ten shards, and four of the first key's were out when the others came."""
    worker = small_window(make_store)
    jobs = worker.submit(key_id, 40)
    worker.run(3)
    for _ in range(9):
        jobs += worker.submit(new_key(worker.store), 40)
    served = worker.run(100)
    assert all(9 <= served[job] <= 11 for job in jobs), served


def test_jobs_of_a_key_take_turns(make_store: MakeStore, key_id: int) -> None:
    worker = small_window(make_store)
    jobs = worker.submit(key_id, 12, jobs=3)
    worker.run(6)
    served = worker.run(15)
    assert all(4 <= served[job] <= 6 for job in jobs), served


def test_new_jobs_of_a_key_do_not_starve_its_older_ones(make_store: MakeStore, key_id: int) -> None:
    worker = small_window(make_store)
    (old,) = worker.submit(key_id, 20)
    for _ in range(20):
        worker.submit(key_id, 1)
        worker.run(1)
    assert Counter(worker.served)[old] >= 7, "4 of them before the others came"


def test_more_keys_than_places_starve_none_of_them(make_store: MakeStore, key_id: int) -> None:
    """Two places and five keys, two of which have many small jobs: they always have one that was never served."""
    worker = Worker(make_store(shard_documents=1, unserved_shards=2))
    crowd = {*worker.submit(key_id, 1, jobs=25), *worker.submit(new_key(worker.store), 1, jobs=25)}
    steady = [worker.submit(new_key(worker.store), 40)[0] for _ in range(3)]
    served = worker.run(50)
    assert min(served[job] for job in steady) >= 4, served
    assert sum(served[job] for job in crowd) >= 8, served


def test_everything_is_served_in_the_end(make_store: MakeStore, key_id: int) -> None:
    worker = small_window(make_store)
    jobs = [
        *worker.submit(key_id, 5),
        *worker.submit(new_key(worker.store), 1, jobs=7),
        *worker.submit(key_id, 1, jobs=5),
    ]
    served = worker.run(1000)
    assert set(served) == set(jobs)
    assert sum(served.values()) == 17
