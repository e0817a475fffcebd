"""Which columns of a table, or fields of a line of JSON, make a document."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from textmill.errors import InvalidRequest
from textmill.files.parts import NO_FIELDS, Parts
from textmill.wire import INSTEAD_OF_TEXT


@dataclass(frozen=True)
class Columns:
    """The columns that make a document, by their names."""

    text: str | None = None
    """None: `text`, which must be there unless a field stands in for it."""
    id: str | None = None
    """None: `id` where there is such a column, else positions are the ids."""
    fields: tuple[str, ...] | None = ()
    """What documents of the task may have beside: a column of that name goes with its row. None: the task is newer than
    this client, and no column does."""
    keep: bool = False
    """Whether rows keep all of their columns, for `--join`; what the server gets is the same."""

    @property
    def named(self) -> bool:
        """Whether the producer has named one."""
        return self.text is not None or self.id is not None

    @property
    def text_name(self) -> str:
        """The column of texts."""
        return self.text or "text"

    def id_name(self, header: Sequence[str]) -> str | None:
        """The column of ids, None where positions are."""
        return self.id or ("id" if "id" in header else None)

    def chosen(self, header: Sequence[str], name: str) -> list[str]:
        """The columns of a table that are to be read. Raises InvalidRequest where one is missing or there twice."""
        if self.keep and len(set(header)) < len(header):
            raise InvalidRequest(f"{name}: two columns have one name; it has: {', '.join(header)}", file=name)
        id_name = self.id_name(header)
        if self.text_name in header or not self.instead_of_text(header):
            one_of(header, self.text_name, "--text-column", name)
        if id_name is not None:
            one_of(header, id_name, "--id-column", name)
        wanted = {self.text_name, id_name, *(self.fields or ())}
        return [column for column in header if self.keep or column in wanted]

    def beside(self, header: Iterable[str]) -> list[str]:
        """The task's columns of a table, without those that are taken for texts and ids."""
        names = list(header)
        taken = (self.text_name, self.id_name(names))
        return [field for field in self.fields or () if field in names and field not in taken]

    def instead_of_text(self, header: Iterable[str]) -> list[str]:
        """Those of them that stand in for a text: with one of them, a table needs no column of texts."""
        return [field for field in self.beside(header) if field in INSTEAD_OF_TEXT]

    def parts(self, row: Mapping[str, Any], place: str) -> Parts:
        """The document of a row that was read in a table's own types. Raises InvalidRequest where it is none."""
        text = row.get(self.text_name)
        instead = text is None and any(row[field] is not None for field in self.instead_of_text(row))
        if not instead and self.text_name not in row:
            raise InvalidRequest(f"{place}: {missing(list(row), self.text_name, '--text-column')}", columns=list(row))
        if not (text is None or isinstance(text, str)):
            raise InvalidRequest(f"{place}: {self.text_name} is {_kind(text)} and no text")
        beside = {name: row[name] for name in self.beside(row) if row[name] is not None}
        return Parts(self._id(row, place), None if instead else text or "", beside, row if self.keep else NO_FIELDS)

    def _id(self, row: Mapping[str, Any], place: str) -> str | None:
        name = self.id_name(list(row))
        if name is None:
            return None
        value = row.get(name)
        # Whole numbers are written in one way only; 1.0, dates and the like are not.
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
        if value is None and self.id is None:
            return None
        raise InvalidRequest(f"{place}: {name} is {_kind(value)}: an id is a text or a whole number")


BY_NAME = Columns()
"""The columns named `text` and `id`."""


def one_of(header: Sequence[str], wanted: str, option: str, name: str) -> int:
    """Where the column is. Raises InvalidRequest with all columns where there is none of that name, or several."""
    times = list(header).count(wanted)
    if times == 1:
        return list(header).index(wanted)
    problem = f"{times} columns are named {wanted!r}; it has: {', '.join(header)}" if times else None
    hint = f". {option} names another" if option and times else ""
    raise InvalidRequest(f"{name}: {problem or missing(header, wanted, option)}{hint}", file=name, columns=list(header))


def missing(header: Sequence[str], wanted: str, option: str) -> str:
    """What to say where no column has that name."""
    hint = f". {option} names another" if option else ""
    return f"no column is named {wanted!r}; it has: {', '.join(header)}{hint}"


def _kind(value: object) -> str:
    return "empty" if value is None else f"of type {type(value).__name__}"
