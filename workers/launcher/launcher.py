"""One child process for each device: started, started again when it dies, drained on SIGTERM. Never imports torch.

The main thread acts on one event after the other. Signal handlers, timers and the threads that wait for a child only
put events into a queue.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

import psutil
from sqlalchemy.exc import SQLAlchemyError

from store import leases, workers
from store.dispatcher import Dispatcher
from store.faults import brief
from store.session import Store
from textmill.errors import TextmillError
from workers.faults import EXITS
from workers.launcher.gpus import Gpu
from workers.launcher.machine import machine
from workers.launcher.parent import LAUNCHER
from workers.settings import WorkerSettings

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a dead child is started again: doubled with each death in a row."""

HEALTHY_SECONDS = 60
"""A child that lived so long is started again after the first pause."""

KILL_AFTER_SECONDS = 15
"""A child that has not ended so long after its drain time is killed."""

EXPIRE_AGAIN_SECONDS = 0.5
"""Between two tries to queue again what a dead child held."""

LAST_WORDS_SECONDS = 5
"""A launcher that ends waits so long for such tries, all together."""


@dataclass
class Slot:
    """A device and the child process that has it."""

    name: str
    environment: dict[str, str]
    """What the child's environment has besides this process's own."""
    child: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    pause: float = FIRST_PAUSE


def slots(gpus: Sequence[Gpu], settings: WorkerSettings) -> list[Slot]:
    """A slot for each GPU, or those of the CPU: chosen by the environment, before the child's Python starts."""
    devices = [(f"gpu{n}", {"TEXTMILL_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": gpu.uuid}) for n, gpu in enumerate(gpus)]
    found = []
    for number, (name, environment) in enumerate(devices or _cpu(settings)):
        if settings.worker_metrics_port:
            environment["TEXTMILL_WORKER_METRICS_PORT"] = str(settings.worker_metrics_port + number)
        found.append(Slot(name, environment))
    return found


def _cpu(settings: WorkerSettings) -> list[tuple[str, dict[str, str]]]:
    """The processes of the CPU. Threads of one pass wait for each other, so several share the cores out among them."""
    count = settings.cpu_processes
    environment = {"TEXTMILL_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    if count == 1:
        return [("cpu", environment)]
    threads = settings.threads or max(1, len(os.sched_getaffinity(0)) // count)
    return [(f"cpu{n}", {**environment, "TEXTMILL_THREADS": str(threads)}) for n in range(count)]


@dataclass
class Launcher:
    """Runs until SIGTERM or SIGINT. The second of them kills the children."""

    slots: list[Slot]
    settings: WorkerSettings
    store: Store
    dispatcher: Dispatcher
    _events: "SimpleQueue[tuple[str, Slot | None]]" = field(default_factory=SimpleQueue)
    _stopping: bool = False
    _expiries: set[threading.Thread] = field(default_factory=set)
    """Threads that try to give leases back."""
    _ends: threading.Event = field(default_factory=threading.Event)

    def run(self) -> int:
        """Start the children and look after them; the exit code of the process."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._events.put(("stop", None)))
        self.dispatcher.start()
        self._aside(self._expire_the_dead)
        for slot in self.slots:
            self._start(slot)
        while not (self._stopping and all(slot.child is None for slot in self.slots)):
            event, about = self._events.get()
            if event == "stop":
                self._stop()
            elif event == "kill":
                self._signal(signal.SIGKILL)
            elif event == "start" and about is not None and not self._stopping:
                self._start(about)
            elif event == "ended" and about is not None:
                self._ended(about)
        self._end_expiries()
        self.dispatcher.stop()
        self.store.close()
        return 0

    def _start(self, slot: Slot) -> None:
        # The command that may be typed by hand, too.
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "--pool", "threads"]
        command += ["--hostname", f"{slot.name}@%h", "--loglevel", self.settings.log_level]
        # Gossip and mingle let Celery workers know of each other. These share nothing but the ledger, and gossip logs
        # an error whenever Redis comes back.
        command += ["--without-gossip", "--without-mingle"]
        environment = {**os.environ, **slot.environment, LAUNCHER: str(os.getpid())}
        # A session of its own: Ctrl-C reaches the launcher alone, which then drains its children in order.
        slot.child = subprocess.Popen(command, env=environment, start_new_session=True)  # nosec B603 # our own program
        slot.started_at = time.monotonic()
        log.info("%s: started process %d", slot.name, slot.child.pid)
        threading.Thread(target=self._wait_for, args=(slot, slot.child), daemon=True).start()

    def _wait_for(self, slot: Slot, child: "subprocess.Popen[bytes]") -> None:
        child.wait()
        self._events.put(("ended", slot))

    def _ended(self, slot: Slot) -> None:
        assert slot.child is not None
        pid, code = slot.child.pid, slot.child.returncode
        slot.child = None
        log.log(logging.INFO if code == 0 else logging.ERROR, "%s: process %d ended (%s)", slot.name, pid, reason(code))
        self._expire(pid)
        if self._stopping:
            return
        if time.monotonic() - slot.started_at >= HEALTHY_SECONDS:
            slot.pause = FIRST_PAUSE
        self._later(slot.pause, "start", slot)
        slot.pause = min(2 * slot.pause, LONGEST_PAUSE)

    def _stop(self) -> None:
        if self._stopping:
            log.warning("told to stop again: killing the children")
            self._signal(signal.SIGKILL)
            return
        self._stopping = True
        log.info("draining, for at most %.0f s", self.settings.drain_seconds)
        self._signal(signal.SIGTERM)
        self._later(self.settings.drain_seconds + KILL_AFTER_SECONDS, "kill", None)

    def _signal(self, number: signal.Signals) -> None:
        for slot in self.slots:
            if slot.child is not None:
                with contextlib.suppress(ProcessLookupError):
                    slot.child.send_signal(number)

    def _later(self, seconds: float, event: str, slot: Slot | None) -> None:
        timer = threading.Timer(seconds, self._events.put, ((event, slot),))
        timer.daemon = True
        timer.start()

    def _aside(self, work: Callable[..., None], *arguments: int) -> None:
        """In a thread of its own: a database that does not answer keeps no child from being started or stopped."""

        def run() -> None:
            work(*arguments)
            self._expiries.discard(threading.current_thread())

        thread = threading.Thread(target=run, name="expiry", daemon=True)
        self._expiries.add(thread)
        thread.start()

    def _end_expiries(self) -> None:
        """Let the tries that run at the moment end; there are no more of them."""
        self._ends.set()
        end = time.monotonic() + LAST_WORDS_SECONDS
        for thread in list(self._expiries):
            thread.join(max(0, end - time.monotonic()))

    def _expire(self, pid: int) -> None:
        """Queue again, as soon as it can be done, what a dead process held; otherwise its leases would have to run out.

        A thread for each: the shards of one may be locked while those of another are not.
        """
        self._aside(self._expire_all, pid)

    def _expire_all(self, pid: int) -> None:
        run_out = time.monotonic() + self.store.settings.lease_seconds
        while not self._expire_some(pid) and time.monotonic() < run_out:
            if self._ends.wait(EXPIRE_AGAIN_SECONDS) or is_running(pid):  # another process has this number by now
                return

    def _expire_some(self, pid: int) -> bool:
        """Whether there is nothing left of it."""
        try:
            expired = self.store.write(leases.expire_process, machine(), pid)
        except (TextmillError, SQLAlchemyError) as error:
            log.warning("the shards of process %d cannot be queued again yet: %s", pid, brief(error))
            return False
        if expired.released:
            log.warning("%d shards of process %d are queued again", len(expired.released), pid)
        self.dispatcher.publish(expired.released)
        return expired.all

    def _expire_the_dead(self) -> None:
        """What workers of this machine held that died with an earlier launcher."""
        try:
            registered = self.store.read(workers.pids, machine())
        except (TextmillError, SQLAlchemyError) as error:
            log.warning("the registry of workers cannot be read: %s", brief(error))
            return
        for pid in registered:
            if not is_running(pid):
                self._expire(pid)


def reason(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        return signal.Signals(-code).name
    return EXITS.get(code, f"exit code {code}")


def is_running(pid: int) -> bool:
    """Whether the process runs. One that has ended counts as dead even while its parent has not waited for it: in a
    container whose first process never waits, such a process stays for ever."""
    if not psutil.pid_exists(pid):
        return False
    with contextlib.suppress(psutil.Error):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return True
