"""Results for human eyes: source and result beside each other. What is shown how depends on what the output has."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from textmill.show import output_text
from textmill.wire import Entity, Job, Output, Result

SHOWN_CHARACTERS = 900
"""Of a text in a sample; the rest is counted, not shown."""

COLORS = ("green", "cyan", "magenta", "yellow", "blue", "red")

Renderer = Callable[[str, str, Output], RenderableType]
"""(title, the document's text, its output) -> what to print."""


def shorten(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """The text's beginning, with a note of how much follows."""
    return text if len(text) <= limit else f"{text[:limit].rstrip()} [... {len(text) - limit:,} more characters]"


def mark_entities(text: str, entities: list[Entity]) -> Text:
    """The text with each entity coloured and its label behind it."""
    marked = Text()
    colors: dict[str, str] = {}
    at = 0
    for entity in sorted(entities, key=lambda entity: entity.start):
        color = colors.setdefault(entity.entity_group, COLORS[len(colors) % len(COLORS)])
        marked.append(text[at : entity.start])
        marked.append(text[entity.start : entity.end], style=f"bold {color}")
        marked.append(f"[{entity.entity_group}]", style=f"dim {color}")
        at = entity.end
    marked.append(text[at:])
    return marked


def _beside(title: str, heads: tuple[str, str], text: str, answer: str) -> Table:
    table = Table(title=title, expand=True, show_lines=True)
    for head in heads:
        table.add_column(head, ratio=1)
    table.add_row(Text(shorten(text)), Text(shorten(answer)))
    return table


def _marked(title: str, text: str, output: Output) -> Panel:
    shown = text[:SHOWN_CHARACTERS]
    return Panel(mark_entities(shown, [entity for entity in output.entities if entity.end <= len(shown)]), title=title)


RENDERERS: dict[str, Renderer] = {"entities": _marked}
"""By a field of the output, where more can be shown than the task's own words for it (`textmill.show.output_text`)."""


def _as_told(title: str, text: str, output: Output, task: str) -> Table:
    return _beside(title, ("document", "output"), text, output_text(task, output))


def show_sample(console: Console, task: str, text: str, result: Result, limits: str | None = None) -> None:
    """One document beside what became of it. limits: why no better is to be expected, where it is shown
    for that."""
    title = f"{task}: {result.id}" + (f" - beyond what the model is for: {limits}" if limits else "")
    if result.output is None:
        reason = result.error.message if result.error else result.state
        console.print(Panel(Text(f"{shorten(text, 200)}\n\n{result.state}: {reason}"), title=title))
        return
    found = next((RENDERERS[field] for field in result.output if field in RENDERERS), None)
    shown = found(title, text, result.output) if found else _as_told(title, text, result.output, task)
    console.print(shown)


def show_summary(console: Console, job: Job, results: list[Result], path: Path) -> None:
    """What a job took and came to, in one line."""
    seconds = (job.finished_at - job.created_at).total_seconds() if job.finished_at else 0.0
    pieces = sum(result.pieces or 0 for result in results)
    failed = f", {job.counts.failed} failed" if job.counts.failed else ""
    console.print(
        f"[bold]{job.task}[/bold] with {job.model}: {job.counts.succeeded} of {job.counts.total} documents{failed}, "
        f"{pieces} pieces, {seconds:.1f} s after submission -> {path}\n"
    )
