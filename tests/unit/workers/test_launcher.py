"""Which processes of an earlier launcher still hold what the ledger says they hold."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

from store import leases, workers
from store.dispatcher import Dispatcher
from store.queue import celery_app
from store.session import Store
from store.settings import StoreSettings
from store.workers import WorkerRow
from tests.integration.ledger_steps import claim, shard_states, submit
from tests.proxy import proxied
from workers.launcher import launcher as module
from workers.launcher.launcher import Launcher, Slot, is_running
from workers.launcher.machine import machine
from workers.settings import WorkerSettings


def test_a_process_that_nobody_waited_for_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()  # its end closes the pipe
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and kept as a zombie
    assert not is_running(child.pid)
    child.wait()
    assert not is_running(child.pid)


def test_a_running_processis_running_whoever_owns_it() -> None:
    assert is_running(os.getpid())
    assert is_running(1)


def expire_the_dead(store: Store) -> None:
    """What a launcher does when it starts."""
    launcher = Launcher([], WorkerSettings(), store, Dispatcher(celery_app(store.settings.redis_url)))
    launcher._expire_the_dead()
    launcher._end_expiries()


def test_workers_of_a_container_with_the_same_host_name_are_not_taken_for_dead(store: Store, key_id: int) -> None:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    job, [released] = submit(store, key_id)
    row = WorkerRow("theirs", socket.gethostname(), gone.pid, "cpu", ("echo",), 1, "another container")
    store.write(workers.register, row)
    claim(store, released.shard_id, "theirs")
    expire_the_dead(store)
    assert shard_states(store, job) == ["leased"]
    store.write(workers.register, WorkerRow("ours", socket.gethostname(), gone.pid, "cpu", ("echo",), 1, machine()))
    store.write(leases.expire_worker, "theirs")
    claim(store, released.shard_id, "ours")
    expire_the_dead(store)
    assert shard_states(store, job) == ["queued"]
    assert [worker.id for worker in store.read(workers.live)] == ["theirs"]


class Brief(Launcher):
    """Its children end at once; it is told to stop when the first was started again."""

    started = 0
    answers: ClassVar[list[object]] = []
    """Of the database."""

    def _start(self, slot: Slot) -> None:
        self.started += 1
        if self.started == 2:
            assert not self.answers, "the loop had waited for the database"
            self._events.put(("stop", None))
        slot.child = subprocess.Popen([sys.executable, "-c", "pass"])
        threading.Thread(target=self._wait_for, args=(slot, slot.child), daemon=True).start()


@pytest.mark.parametrize("backend", ["postgresql"])
def test_a_database_that_is_silent_keeps_no_child_from_being_started(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_WORDS_SECONDS", 0)
    proxy, url = proxied(database_url)
    store = Store(url, StoreSettings(database_url=url, redis_url=redis_url))
    launcher = Brief([Slot("cpu", {})], WorkerSettings(), store, Dispatcher(celery_app(redis_url)))
    store.read(workers.pids, machine())

    def write(*call: Any) -> Any:
        try:
            return Store.write(store, *call)
        finally:
            Brief.answers.append(call)

    monkeypatch.setattr(store, "write", write)
    proxy.vanish()
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        assert launcher.run() == 0
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
        proxy.close()
    assert launcher.started == 2


def test_a_machine_has_one_name_for_all_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    show = "from workers.launcher.machine import machine; print(machine())"
    assert subprocess.check_output([sys.executable, "-c", show], text=True).strip() == machine()
    monkeypatch.setattr("workers.launcher.machine.BOOT", Path("/nowhere"))
    assert machine() == socket.gethostname()
