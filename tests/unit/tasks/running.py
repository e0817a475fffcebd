"""Documents through a runner, together or one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.unit.runners import bound
from workers.runner import NO_FIELDS, ModelRunner, Outcome


def outcomes(
    runner: ModelRunner,
    texts: Sequence[str],
    together: bool = True,
    fields: Mapping[str, Any] = NO_FIELDS,
    **options: Any,
) -> list[Outcome]:
    """The documents' outcomes: all items in one batch (of one group), or each alone."""
    plan = bound(runner, **options)
    documents = [plan.prepare(text, fields) for text in texts]
    items = [item for document in documents for item in document.items]
    batches = [items] if together else [[item] for item in items]
    outputs = iter([output for batch in batches if batch for output in runner.run(batch)])
    found = [plan.assemble(document, [next(outputs) for _ in document.items]) for document in documents]
    assert all(isinstance(outcome, Outcome) for outcome in found)
    return found  # type: ignore[return-value]


def outputs(
    runner: ModelRunner, texts: Sequence[str], together: bool = True, **options: Any
) -> list[Mapping[str, Any]]:
    """Their outputs."""
    return [outcome.output for outcome in outcomes(runner, texts, together, **options)]
