"""`python -m standalone up` and `python -m standalone demo`."""

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from standalone.statefile import State
from standalone.supervisor import GaveUp, Stopped
from standalone.system import ROOT, System, folder_of
from store.faults import brief
from textmill.errors import Unavailable
from workers.settings import WorkerSettings


class Running(Exception):
    """Another system lives in this folder."""


def parser() -> argparse.ArgumentParser:
    """What the command line understands."""
    whole = argparse.ArgumentParser(prog="python -m standalone", description=__import__("standalone").__doc__)
    commands = whole.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run the whole system until Ctrl-C")
    up.add_argument("--data", type=Path, default=Path(".textmill"), help="where its data lives (default: .textmill)")
    up.add_argument("--open", action="store_true", help="open the page in the browser, signed in")
    demo = commands.add_parser("demo", help="run the three tasks over real documents and show the results")
    demo.add_argument("--data", type=Path, default=Path(".textmill"), help="where its data lives, in a folder demo/")
    demo.add_argument("--output", type=Path, default=Path("demo-output"), help="where the results are written")
    demo.add_argument("--documents", type=int, help="only so many short ones, and as many long ones (default: all)")
    return whole


def main() -> int:
    """Exit codes: 0 ended as asked, 1 something did not start or failed, 2 usage (or it runs already)."""
    arguments = parser().parse_args()
    try:
        if arguments.command == "up":
            return run_up(arguments.data, arguments.open)
        return run_demo(arguments.data, arguments.output, arguments.documents)
    except Stopped:
        print("Stopped.", flush=True)
        return 0 if arguments.command == "up" else 130
    except Unavailable as error:
        print(f"Textmill cannot start: {brief(error)}", file=sys.stderr)
        return 1
    except GaveUp as error:
        print(error, file=sys.stderr)
        return 1
    except Running as error:
        print(f"Textmill already runs in {error}.", file=sys.stderr)
        print("Stop it there, or run this one in another folder: --data FOLDER", file=sys.stderr)
        return 2


def run_up(data: Path, show: bool) -> int:
    """Run the system in the folder until a signal; `show` its page in the browser, once it is ready."""
    with locked(data) as folder:
        print("Starting Textmill: database, Redis, api, worker, Flower ...", flush=True)
        drain_seconds = WorkerSettings().drain_seconds
        system = System(folder, dict(os.environ), drain_seconds=drain_seconds)

        def ready(state: State) -> None:
            _welcome(state, folder)
            if show:
                system.supervisor.guests.add(open_page(way_in(state)))

        system.run(ready)
    return 0


def run_demo(data: Path, output: Path, documents: int | None) -> int:
    """Run a system of its own, from an empty database, for as long as the demo's client works. Its exit code."""
    environment = {"TEXTMILL_CACHE_DIR": str(data.resolve() / "cache"), **os.environ}
    client: list[subprocess.Popen[bytes]] = []
    with locked(data / "demo") as folder:
        for old in folder.iterdir():
            if old.name != "lock":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        system = System(folder, environment, drain_seconds=5)

        def start_client(_state: State) -> None:
            limit = [] if documents is None else ["--documents", str(documents)]
            arguments = ["-m", "standalone.demo", str(system.file.path), str(output.resolve()), *limit]
            demo = subprocess.Popen([sys.executable, *arguments], cwd=ROOT)  # nosec B603 # our own program
            client.append(demo)
            system.supervisor.guests.add(client[0].pid)

        print("Starting Textmill for the demo: database, Redis, api, worker, Flower ...", flush=True)
        try:
            system.run(start_client, until=lambda: client[0].poll() is not None)
        finally:
            if client and client[0].poll() is None:
                client[0].kill()
                client[0].wait()
    return client[0].returncode


@contextmanager
def locked(path: Path) -> Iterator[Path]:
    """The folder, for this process alone. Raises Running."""
    folder = folder_of(path)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Running(f"{folder} (process {os.pread(lock, 32, 0).decode()})") from None
        os.truncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield folder
    finally:
        os.close(lock)


def open_page(address: str) -> int:
    """Show it in the user's browser. Returns the process that does: the supervisor has one thread, which a browser
    would hold for as long as it runs where there is no other one yet."""
    return subprocess.Popen(  # nosec B603 # no shell; the address is an argument
        [sys.executable, "-m", "webbrowser", "-t", address],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ).pid  # fmt: skip


def way_in(state: State) -> str:
    """The page's address with the key in its fragment, which is never sent to a server: the page takes it into its
    tab's session, and out of the address."""
    return f"{state.api_url}/#key={quote(state.api_key, safe='')}"


def _welcome(state: State, folder: Path) -> None:
    print(
        f"""
Textmill is ready.

  Page      {way_in(state)}
  API       {state.api_url}   (documentation: {state.api_url}/docs)
  API key   {state.api_key}
  Flower    {state.flower_url}   (user {state.flower_user}, password {state.flower_password})
  Data      {folder}   (logs/ has what each process says)

Try it in another terminal:

  export TEXTMILL_URL={state.api_url} TEXTMILL_API_KEY={state.api_key}
  .venv/bin/textmill models

Ctrl-C stops everything; the worker gives back what it has not finished.
""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
