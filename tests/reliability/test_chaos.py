"""`make chaos`, short: the whole system under load and a few faults, and the plan of a longer run."""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from store import jobs, keys
from store.session import Store
from tests.proxy import proxied
from tests.reliability.chaos.check import CATEGORIES
from tests.reliability.chaos.faults import KINDS
from tests.reliability.chaos.on_network import WRITES
from tests.reliability.chaos.plan import Fault, plan
from tests.reliability.chaos.system import WRITE_SECONDS

ROOT = Path(__file__).resolve().parents[2]

SEED = 7
# Short, so that the leases of a worker that is gone are over soon.
SHORT = ("--minutes", "0.2", "--lease", "4", "--between", "0.5", "--seed", str(SEED))
QUICK = ("kill_worker", "kill_api", "redis_flush", "postgres_restart", "messages", "net_cut")


def test_a_short_run_is_clean() -> None:
    command = [sys.executable, "-m", "tests.reliability.chaos", *SHORT, "--kinds", *QUICK]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    said = done.stdout + done.stderr
    # A slow machine may do too little in so short a time for a real run; what it does is checked below as well.
    assert done.returncode == 0 or "this run means nothing" in said, said
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["seed"] == SEED
    assert {category: line[category] for category in CATEGORIES} == dict.fromkeys(CATEGORIES, 0), said
    assert line["outcomes"] == line["accepted"] > 0
    # On a slow machine the first round is all there is: what recovers is seen where one fault comes by itself.
    [first] = next(plan(SEED, "postgresql", QUICK))
    assert first.kind in line["recovery_s"], said


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_commit_of_what_writes_is_known_when_it_is_seen(store: Store) -> None:
    """By which some faults strike in the middle of a transaction, and others between its commit and the answer."""
    proxy, url = proxied(store.url)
    seen: list[str] = []
    through = Store(url, store.settings.model_copy(update={"database_write_seconds": WRITE_SECONDS}))
    proxy.at(WRITES, b"COMMIT", act=lambda: seen.append("commit"))
    through.read(jobs.ended, [])
    assert seen == []
    through.write(keys.create, "somebody")
    assert seen == ["commit"]
    through.close()
    proxy.close()


def rounds(seed: int, database: str, count: int = 300) -> list[tuple[Fault, ...]]:
    return list(islice(plan(seed, database), count))


def test_a_seed_is_a_plan() -> None:
    assert rounds(7, "postgresql") == rounds(7, "postgresql")
    assert rounds(7, "postgresql") != rounds(8, "postgresql")


@pytest.mark.parametrize("database", ["postgresql", "sqlite"])
def test_all_kinds_come_and_some_overlap(database: str) -> None:
    planned = rounds(7, database)
    kinds = {fault.kind for faults in planned for fault in faults}
    assert kinds == {name for name, kind in KINDS.items() if database in kind.databases}
    assert {len(faults) for faults in planned} == {1, 2, 3, 4}
    for fault in (fault for faults in planned for fault in faults):
        shortest, longest = KINDS[fault.kind].seconds
        assert shortest <= fault.seconds <= longest
        assert fault.target in KINDS[fault.kind].targets
