"""The demo's client: a job of each task over `examples/` with the Python client, and their results side by side: of the
texts that each model is for, and of one that shows where it ends.

Run by `python -m standalone demo`, against the system that it has started.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from standalone.show import show_sample, show_summary
from textmill import Client
from textmill.files.jsonl import result_line
from textmill.tasks import TASKS
from textmill.wire import Result

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
OPTIONS: dict[str, dict[str, Any]] = {"translation": {"target_lang": "pt"}}
"""By task; the others need none."""

SAMPLES: dict[str, tuple[str, ...]] = {
    "summarization": ("debian/buzztrax", "debian/packer", "long/git-tutorial"),
    "translation": ("debian/gap-fga", "debian-code/", "debian-list/"),
    "ner": ("long/debian-history", "jargon/fidonet", "jargon/its"),
}
"""What is shown of a task, of the kind of texts that its model is for: the first document whose id starts so."""
LIMITS: dict[str, tuple[str, str]] = {
    "summarization": ("jargon/great-worm", "it knows descriptions of software, and this is a story"),
    "translation": ("long/jargon-crackers-phreaks", "it knows descriptions of software, and this is everyday English"),
    "ner": ("table/torch", "it knows prose, and this is a table"),
}
"""What is shown last, and told to be no text for the model, with the reason."""
FIRST = 3
"""Documents that are shown of a task for which none were chosen."""


def documents(limit: int | None) -> dict[str, str]:
    """Texts by id: the short ones, then the long ones; of each at most `limit`."""
    with gzip.open(EXAMPLES / "documents.jsonl.gz", "rt", encoding="utf-8") as lines:
        short = {document["id"]: document["text"] for document in map(json.loads, lines)}
    long = {f"long/{path.stem}": path.read_text(encoding="utf-8") for path in sorted((EXAMPLES / "long").glob("*.txt"))}
    return dict([*list(short.items())[:limit], *list(long.items())[:limit]])


def run(mill: Client, texts: dict[str, str], output: Path, console: Console) -> int:
    """Run all tasks, write and show their results. Returns the number of documents that did not succeed."""
    output.mkdir(parents=True, exist_ok=True)
    # Models that come with this installation: the demo downloads nothing.
    here = {str(model["task"]): model["name"] for model in reversed(mill.models()) if model["source"] is None}
    jobs = {}
    for task in (task.name for task in TASKS if task.name in here):
        documents = ({"id": key, "text": text} for key, text in texts.items())
        jobs[task] = mill.submit(task, documents, model=here[task], **OPTIONS.get(task, {}))
    if missing := [task.name for task in TASKS if task.name not in here]:
        console.print(
            f"Without a model in this repository, and so not shown: {', '.join(missing)}. `textmill models` lists those"
            " of the hub; `python -m workers models pull NAME` fetches one.\n"
        )
    bad = 0
    for task, job in jobs.items():
        job.wait(progress=True)
        path = output / f"{task}.jsonl"
        results: dict[str, Result] = {}
        with path.open("w", encoding="utf-8") as file:
            for result in job.results():
                file.write(result_line(result))
                results[result.id] = result
        bad += sum(result.state != "succeeded" for result in results.values())
        samples: list[tuple[str, str | None]] = [(wanted, None) for wanted in SAMPLES.get(task, list(texts)[:FIRST])]
        for wanted, limits in (*samples, *([LIMITS[task]] if task in LIMITS else [])):
            if found := next((key for key in texts if key.startswith(wanted)), None):
                show_sample(console, task, texts[found], results[found], limits)
        show_summary(console, job.info, list(results.values()), path)
    return bad


def main() -> int:
    """Exit codes: 0 every document succeeded, 1 some did not."""
    parser = argparse.ArgumentParser(prog="python -m standalone.demo", description=__doc__)
    parser.add_argument("state", type=Path, help="standalone.json of the system to use")
    parser.add_argument("output", type=Path, help="folder for the results")
    parser.add_argument("--documents", type=int)
    arguments = parser.parse_args()
    state = json.loads(arguments.state.read_text(encoding="utf-8"))
    with Client(state["api_url"], api_key=state["api_key"]) as mill:
        try:
            bad = run(mill, documents(arguments.documents), arguments.output, Console())
        except KeyboardInterrupt:
            return 130  # the supervisor heard Ctrl-C as well, and says what there is to say
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
