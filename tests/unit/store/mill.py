"""A mill in memory: the policy over lists, workers that take what it releases, and books on who got what."""

import collections
import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from store import policy
from store.capacity import Out, Server, bite, window
from store.policy import SHARES, Filled, Pending, Turn, Waiting
from store.settings import StoreSettings


@dataclass
class Job:
    """`ahead`: at most so many places of its priority may go to others before its next."""

    id: int
    model: str
    key: int
    priority: int
    shards: collections.deque[Pending]
    place: int = 0
    ahead: int = 0


@dataclass
class Account:
    """What one key had of one model: the policy's account, and counts of our own."""

    turn: Turn
    jobs: dict[int, Job] = field(default_factory=dict)
    cost: int = 0
    done: int = 0
    """Of that, what is finished."""
    of_priority: collections.Counter[int] = field(default_factory=collections.Counter)
    places: collections.Counter[int] = field(default_factory=collections.Counter)
    before: float = 0
    """What others of the model had since it began to wait, while it has had nothing yet."""
    began: bool = True
    """Whether it has had something since it began to wait."""

    @property
    def out(self) -> int:
        """Released and not finished."""
        return self.cost - self.done


class Lists:
    """`policy.Books` over lists."""

    def __init__(self, accounts: dict[int, Account]) -> None:
        self.accounts = accounts

    def turns(self, count: int) -> list[Turn]:
        waiting = [account.turn for account in self.accounts.values() if account.jobs]
        return sorted(waiting, key=lambda turn: turn.tag)[:count]

    def lowest(self) -> float:
        return min(turn.tag for turn in self.turns(1))

    def jobs(self, key_id: int, count: int) -> list[Waiting]:
        lines = collections.defaultdict[tuple[int, bool], list[Waiting]](list)
        for job in self.accounts[key_id].jobs.values():
            lines[job.priority, job.place == 0].append(Waiting(job.id, job.priority, job.place))
        return [
            job for line in lines.values() for job in heapq.nsmallest(count, line, key=lambda j: (j.place, j.job_id))
        ]

    def pending(self, job_id: int, count: int) -> list[Pending]:
        for account in self.accounts.values():
            if job_id in account.jobs:
                return list(account.jobs[job_id].shards)[:count]
        return []


class Mill:
    """Models on worker processes, each with a speed for each; `longest` is the largest shard, in characters."""

    def __init__(self, servers: Sequence[Server], keys: int, longest: int, seed: int) -> None:
        self.servers = servers
        self.settings = StoreSettings()
        self.longest = longest
        self.random = random.Random(seed)
        self.models = sorted({model for server in servers for model in server.models})
        self.accounts = {model: {key: Account(Turn(key)) for key in range(keys)} for model in self.models}
        self.out: dict[int, tuple[Job, Pending]] = {}
        self.running: list[tuple[float, int]] = []
        self.free_at = [[0.0] * server.slots for server in servers]
        self.now = 0.0
        self.level = dict.fromkeys(self.models, 0.0)
        """What a key that comes starts level with."""
        self.most_out = 0
        """The most that one key ever had out, in characters."""
        self.ids = iter(range(1, 10**9))

    @property
    def slots(self) -> int:
        """With one, a process runs a shard while another waits for it."""
        return sum(max(2, server.slots) for server in self.servers)

    def speed(self, model: str) -> float:
        speeds = [server.speeds[model] for server in self.servers if model in server.models]
        return sum(speeds) / len(speeds)

    def ahead(self, model: str) -> int:
        """Characters by which one waiting key may be ahead of another: a shard, and one at once, and what the one had
        out when the other came."""
        return 2 * self.longest + bite(self.speed(model), self.settings) + self.most_out

    def waiting(self, model: str) -> dict[int, Account]:
        return {key: account for key, account in self.accounts[model].items() if account.jobs}

    def received(self, model: str) -> tuple[list[float], list[float]]:
        """What the keys that wait have received, and the others."""
        waiting: list[float] = []
        resting: list[float] = []
        for account in self.accounts[model].values():
            (waiting if account.jobs else resting).append(account.turn.tag - account.out)
        return waiting, resting

    def submit(self, model: str, key: int, priority: int, sizes: Sequence[int]) -> Job:
        shards = collections.deque(Pending(next(self.ids), size) for size in sizes)
        job = Job(next(self.ids), model, key, priority, shards)
        account = self.accounts[model][key]
        if not account.jobs:
            account.turn.tag = policy.woken(account.turn.tag, account.out, *self.received(model))
            account.before, account.began = 0, False
        newcomers = sum(j.priority == priority and j.place == 0 for j in account.jobs.values())
        job.ahead = account.places[priority] + 2 * (newcomers + 1)
        account.jobs[job.id] = job
        self.release(model, job)
        return job

    def finish_one(self) -> None:
        """Time goes on to the next shard that is done; it is settled, and its place filled."""
        if self.running:
            self.now, shard_id = heapq.heappop(self.running)
            job, shard = self.out.pop(shard_id)
            self.accounts[job.model][job.key].done += shard.cost
            self.release(job.model)

    def release(self, model: str, newcomer: Job | None = None) -> None:
        out = Out(collections.Counter(job.model for job, _ in self.out.values()))
        mine = [(job, shard) for job, shard in self.out.values() if job.model == model]
        for job, shard in mine:
            out.characters[job.key] += shard.characters
        out.keys = {job.key for job, _ in mine}
        room = window(model, self.speed(model), self.servers, out, self.settings)
        books = Lists(self.accounts[model])
        while room.open:
            filled = policy.fill(room, books)
            self.write(model, filled)
            if not filled.shards:
                break
        assert not (room.open and self.waiting(model)), "work waits, and nothing keeps it"
        if newcomer and newcomer.place == 0 and newcomer.id in self.accounts[model][newcomer.key].jobs:
            account = self.accounts[model][newcomer.key]
            some_out = any(job.key == newcomer.key for job, _ in mine)
            filled = policy.admit(room, books, account.turn, newcomer.id, newcomer.priority, some_out)
            self.write(model, filled)
            if not some_out and not account.began and room.free > 0 and len(account.jobs) == 1:
                ahead = account.turn.tag - books.lowest() > room.bite
                assert ahead or filled.shards, "a key that comes finds a slot in reserve"

    def write(self, model: str, filled: Filled) -> None:
        shards = {shard.shard_id for shard in filled.shards}
        order = {shard.shard_id: n for n, shard in enumerate(filled.shards)}
        taken = [
            (account, job, shard)
            for account in self.accounts[model].values()
            for job in account.jobs.values()
            for shard in list(job.shards)[: len(shards)]
            if shard.shard_id in shards
        ]
        assert len(taken) == len(shards)
        for account, job, shard in sorted(taken, key=lambda entry: order[entry[2].shard_id]):
            assert job.shards.popleft() == shard, "in the order of the job"
            self.note(account, job, shard.cost)
            self.out[shard.shard_id] = (job, shard)
            self.start(model, shard)
        for job_id, place in filled.places.items():
            self._job(model, job_id).place = place
        for job_id, key in filled.emptied.items():
            assert not self.accounts[model][key].jobs.pop(job_id).shards

    def note(self, account: Account, job: Job, cost: int) -> None:
        account.places[job.priority] += 1
        assert account.places[job.priority] <= job.ahead, "too many were served before it"
        waiting = sum(j.priority == job.priority and j.place > 0 for j in account.jobs.values() if j is not job)
        job.ahead = account.places[job.priority] + 2 * (waiting + 1)
        job.place = job.place or 1  # until `write` comes to what the policy says
        account.cost += cost
        self.most_out = max(self.most_out, account.out)
        account.of_priority[job.priority] += cost
        account.began = True
        for other in self.waiting(job.model).values():
            if not other.began:
                other.before += cost

    def start(self, model: str, shard: Pending) -> None:
        """The first slot that is free takes it: what one slot does of a worker is its part of the worker's speed."""
        able = [n for n, server in enumerate(self.servers) if model in server.models]
        server = min(able, key=lambda n: min(self.free_at[n]))
        slots = self.free_at[server]
        slot = min(range(len(slots)), key=slots.__getitem__)
        speed = self.servers[server].speeds[model] / len(slots) * self.random.uniform(0.5, 1.5)
        slots[slot] = max(self.now, slots[slot]) + shard.cost / speed
        heapq.heappush(self.running, (slots[slot], shard.shard_id))

    def _job(self, model: str, job_id: int) -> Job:
        return next(a.jobs[job_id] for a in self.accounts[model].values() if job_id in a.jobs)

    def check(self) -> None:
        """What holds after every step."""
        longest = self.longest
        assert len(self.out) <= self.slots + len(self.models), "more than the task slots hold, and one for each model"
        for model in self.models:
            level = policy.woken(0, 0, *self.received(model))
            assert level >= self.level[model], "who comes later finds less"
            self.level[model] = level
            waiting = self.waiting(model)
            tags = [account.turn.tag for account in waiting.values()]
            if tags:
                assert max(tags) - min(tags) <= self.ahead(model), "a key is ahead of another one"
            most = len(self.accounts[model]) * self.ahead(model)
            assert all(account.before <= most for account in waiting.values()), "a key waits too long"
            for account in waiting.values():
                lanes = {job.priority for job in account.jobs.values()}
                ahead = {priority: account.turn.lanes[priority].tag for priority in lanes}
                for one in lanes:
                    for other in lanes:
                        most_ahead = longest / SHARES[one] + longest / SHARES[other]
                        assert ahead[one] - ahead[other] <= most_ahead, "a priority is ahead of another one"
