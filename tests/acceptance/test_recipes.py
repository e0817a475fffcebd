"""The recipes of docs/architecture.md for a task and for a backend, walked: in a copy of the tree, by nothing else than
what they name, and then a document goes through the whole system. The client is today's, which knows neither."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.conftest import ROOT, Running

ROOMS = ("textmill", "store", "api", "workers", "migrations", "standalone")

TASK_CONTRACT = '''
"""Shouting: the text, louder."""

from textmill.base import Wire
from textmill.tasks.task import Task, TaskOptions


class ShoutOptions(TaskOptions):
    """Options of a shouting job."""

    marks: int | None = None
    """Exclamation marks at the end."""


class ShoutOutput(Wire):
    """What a document became."""

    shouted_text: str


TASK = Task(
    name="shout-out",
    title="A text is shouted.",
    options=ShoutOptions,
    output=ShoutOutput,
    architectures=("ForShouting",),
)
'''

TASK_RULE = '''
"""Shouting: one item a text."""

from workers.kinds import Kind
from workers.runner import Item, Outcome, Prepared


class ShoutRule:
    kind = Kind.TEXT

    def __init__(self, spec, model):
        self._model = model

    def bind(self, options):
        return ShoutPlan(options.get("marks", 0))

    def run(self, items):
        return self._model.texts([item.payload for item in items])

    def canary(self):
        return Item("canary", 1)

    probe = canary

    @staticmethod
    def echo(text, fields):
        return {"shouted_text": text}


class ShoutPlan:
    def __init__(self, marks):
        self._marks = marks

    def prepare(self, text, fields):
        return Prepared([Item(text, len(text) or 1)], None, len(text), 1)

    def assemble(self, prepared, outputs):
        return Outcome({"shouted_text": outputs[0] + "!" * self._marks}, prepared.input_tokens, pieces=1)


RULE = ShoutRule
'''

BACKEND = '''
"""A backend of the kind TEXT that gives texts back in capitals."""

from contextlib import nullcontext

from workers.faults import fault
from workers.kinds import Kind


class Capitals:
    revision, dtype = "1", "text"

    def load(self):
        pass

    unload = load

    def memory_bytes(self):
        return 0

    def texts(self, payloads):
        return [text.upper() for text in payloads]


class LoudBackend:
    name, rank, kinds, batch_tokens, stand_in = "loud", 5, frozenset({Kind.TEXT}), 1_000, None

    def import_ahead(self):
        pass

    def inspect(self, spec, kind):
        return None if kind in self.kinds else f"it does not compute {kind}"

    def adapt(self, rule, spec, model):
        return rule(spec, model)

    def open(self, spec, kind):
        return Capitals()

    def surroundings(self, spec):
        return nullcontext()

    def fault(self, error):
        return fault(error)


BACKEND = LoudBackend()
'''

CATALOGUE = """
[megaphone]
task = "shout-out"
source = "hub:somebody/megaphone"
window = 512
licence = "Apache-2.0"
limitations = "It shouts."
default = true
"""


def add_the_task(tree: Path) -> None:
    (tree / "textmill/tasks/shout_out.py").write_text(TASK_CONTRACT)
    (tree / "workers/tasks/shout_out.py").write_text(TASK_RULE)
    the_list = tree / "textmill/tasks/__init__.py"
    before = the_list.read_text()
    after = before.replace("    ner,\n", "    ner,\n    shout_out,\n").replace(
        " ner.TASK,\n", " ner.TASK,\n    shout_out.TASK,\n"
    )
    assert after.count("shout_out") == 2
    the_list.write_text(after)


def add_the_backend(tree: Path) -> None:
    folder = tree / "workers/backends/loud"
    folder.mkdir()
    (folder / "__init__.py").write_text(BACKEND)


def test_a_task_and_a_backend_by_their_recipes(fresh: Callable[..., Running], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for room in ROOMS:
        shutil.copytree(ROOT / room, tree / room, ignore=shutil.ignore_patterns("__pycache__"))
    add_the_task(tree)
    add_the_backend(tree)
    (tmp_path / "catalogue.toml").write_text(CATALOGUE)

    system = fresh(PYTHONPATH=str(tree), TEXTMILL_CATALOGUE=str(tmp_path / "catalogue.toml"), TEXTMILL_ECHO="true")
    with system.start().client() as mill:
        [model] = [model for model in mill.models() if model["name"] == "megaphone"]
        assert model["task"] == "shout-out"

        job = mill.submit("shout-out", [("a", "what a day")], marks=2).wait(timeout=800)
        assert job.state == "completed", list(job.results())
        [result] = job.results()
        assert result.output is not None
        assert result.output["shouted_text"] == "WHAT A DAY!!"
        assert (result.backend, result.dtype) == ("loud", "text")

        echoed = mill.submit("shout-out", ["quiet"], model="echo").wait(timeout=800)
        [result] = echoed.results()
        assert result.output is not None
        assert result.output["shouted_text"] == "quiet"

        [listed, _] = sorted(mill.jobs(task="shout-out"), key=lambda found: found.info.model, reverse=True)
        assert listed.info.task == "shout-out"


def test_the_recipes_name_what_was_done() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for named in ("textmill/tasks/<task>.py", "workers/tasks/<task>.py", "`TASKS`", "workers/backends/<name>/"):
        assert named in page, named
    assert "tests/acceptance/test_recipes.py" in page
