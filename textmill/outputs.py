"""What a run makes of its results when the last one is there: a table as a whole, the rows of the input with new
columns, one file a document. They are made from the results' JSON lines (OUT.job.results), each as a whole."""

import os
from collections.abc import Iterator
from pathlib import Path

from textmill import wire
from textmill.errors import InvalidRequest, TextmillError
from textmill.files import entities, sources, split
from textmill.files.inputs import from_files, schema_of
from textmill.files.parts import Parts
from textmill.files.results import Form, form_of
from textmill.files.sources import STDIN
from textmill.notes import Plan


class Own:
    """Whether a file is what a run writes: in a folder that is its input, it is none of the input."""

    def __init__(self, out: Path, split: str | None) -> None:
        self._name = out.name
        self._folder = os.path.realpath(out.parent)
        self._split = None if split is None else os.path.join(os.path.realpath(split), "")

    def __call__(self, name: str) -> bool:
        """By its place: whether it is there yet does not matter."""
        folder, last = os.path.split(name)
        # The folder's, since a link to a file elsewhere stands where it stands.
        folder = os.path.realpath(folder or ".")
        if self._split is not None and os.path.join(folder, "").startswith(self._split):
            return True
        beside = last == self._name or last.startswith((f"{self._name}.job", f"{self._name}.provenance.json"))
        return beside and folder == self._folder


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
        """Write all of them from what was collected, each replaced as a whole.

        Raises InvalidRequest, and writes nothing, where rows are to be joined of an input that was changed.
        """
        fresh = self.out.with_name(self.out.name + ".job.new")
        if self.plan.join:
            self._join(fresh)
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

    def _join(self, fresh: Path) -> None:
        # Before: the usual case, and nothing is read for it. After: it was changed while it was being read.
        self._check_inputs()
        try:
            schema = schema_of(self.plan.files, self.plan.format) if self.form.kind == "parquet" else None
            self.form.write_joined(self._documents, self._results, fresh, schema)
            self._check_inputs()
        except TextmillError:
            fresh.unlink(missing_ok=True)
            raise

    def _check_inputs(self) -> None:
        """By position alone a row would get another's result. Raises InvalidRequest where a file is not the plan's."""
        for before in self.plan.inputs:
            if sources.facts(before[0]) != before:
                raise InvalidRequest(
                    f"{before[0]} was changed while the job ran: its rows are not joined"
                    f" (--restart begins anew; {self.collected.name} has the results)"
                )

    def _documents(self) -> Iterator[Parts]:
        plan = self.plan
        return from_files(plan.files, plan.format, plan.columns, plan.encoding)
