"""Results for human eyes: source and result beside each other."""

from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from textmill.wire import Entity, Job, Result, Task

SHOWN_CHARACTERS = 900
"""Of a text in a sample; the rest is counted, not shown."""

TITLES: dict[Task, tuple[str, str]] = {
    "summarization": ("document", "summary"),
    "translation": ("source", "translation"),
    "ner": ("text with its entities", ""),
}
COLORS = ("green", "cyan", "magenta", "yellow", "blue", "red")


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


def show_sample(console: Console, task: Task, text: str, result: Result) -> None:
    """One document beside what became of it."""
    title = f"{task}: {result.id}"
    if result.output is None:
        reason = result.error.message if result.error else result.state
        console.print(Panel(Text(f"{shorten(text, 200)}\n\n{result.state}: {reason}"), title=title))
        return
    if task == "ner":
        shown = text[:SHOWN_CHARACTERS]
        inside = [entity for entity in result.output.entities or [] if entity.end <= len(shown)]
        console.print(Panel(mark_entities(shown, inside), title=title))
        return
    answer = result.output.summary_text if task == "summarization" else result.output.translation_text
    left, right = TITLES[task]
    table = Table(title=title, expand=True, show_lines=True)
    table.add_column(left, ratio=1)
    table.add_column(right, ratio=1)
    table.add_row(Text(shorten(text)), Text(shorten(answer or "")))
    console.print(table)


def show_summary(console: Console, job: Job, results: list[Result], path: Path) -> None:
    """What a job took and came to, in one line."""
    seconds = (job.finished_at - job.created_at).total_seconds() if job.finished_at else 0.0
    pieces = sum(result.pieces or 0 for result in results)
    failed = f", {job.counts.failed} failed" if job.counts.failed else ""
    console.print(
        f"[bold]{job.task}[/bold] with {job.model}: {job.counts.succeeded} of {job.counts.total} documents{failed}, "
        f"{pieces} pieces, {seconds:.1f} s after submission -> {path}\n"
    )
