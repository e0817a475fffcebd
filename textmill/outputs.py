"""What a run makes of its results when the last one is there: a table as a whole, the rows of the input with new
columns, one file a document. They are made from the results' JSON lines (OUT.job.results), each as a whole."""

import os
from collections.abc import Iterator
from pathlib import Path

from textmill import wire
from textmill.errors import InvalidRequest
from textmill.files import entities, split, tables
from textmill.files.inputs import from_files
from textmill.files.results import Form, form_of
from textmill.files.sources import STDIN
from textmill.notes import Plan


class Outputs:
    """The files that a plan writes."""

    def __init__(self, plan: Plan, out: Path) -> None:
        """Raises InvalidRequest where the plan cannot be written so."""
        self.plan = plan
        self.out = out
        self.form: Form = form_of(out.name, plan.task, plan.to, plan.join)
        if plan.join and STDIN in plan.files:
            raise InvalidRequest("--join reads the input once more, which the standard input cannot be: give a file")
        self.staged = self.form.whole or plan.join or plan.split is not None
        """Whether the results are collected in a file of their own first."""
        self.collected = out.with_name(out.name + ".job.jsonl") if self.staged else out
        self.with_text = self.form.with_text or (plan.split is not None and entities.are_given(plan.task))
        # What is collected is JSON lines, whatever is made of it.
        self.lines = form_of("x.jsonl", plan.task) if self.staged else self.form

    def make(self) -> None:
        """Write all of them from what was collected, each replaced as a whole."""
        fresh = self.out.with_name(self.out.name + ".job.new")
        if self.plan.join:
            self.form.write_joined(self._rows, self._results, fresh)
        else:
            self.form.write(self._results, fresh)
        if self.plan.split is not None:
            split.write(self._results(), Path(self.plan.split), self.plan.task)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(self.out.resolve())

    def _results(self) -> Iterator[wire.Result]:
        with self.collected.open("rb") as file:
            for line in file:
                yield wire.Result.model_validate_json(line)

    def _rows(self) -> Iterator[tables.Row]:
        plan = self.plan
        for parts in from_files(plan.files, plan.format, plan.columns, plan.encoding):
            yield parts.row
