"""Documents through a runner, together or one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.unit.runners import bound
from workers.runner import NO_FIELDS, Item, ModelRunner, Outcome


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


def to_the_end(runner: ModelRunner, texts: Sequence[str], **options: Any) -> list[Outcome]:
    """The documents' outcomes, round by round, all items of a round that are of one group in one batch."""
    plan = bound(runner, **options)
    found: dict[int, Outcome] = {}
    rounds = {number: plan.prepare(text) for number, text in enumerate(texts)}
    while rounds:
        groups: dict[Any, list[Item]] = {}
        for prepared in rounds.values():
            for item in prepared.items:
                groups.setdefault(item.group, []).append(item)
        answers = {group: iter(runner.run(items)) for group, items in groups.items()}
        for number, prepared in list(rounds.items()):
            result = plan.assemble(prepared, [next(answers[item.group]) for item in prepared.items])
            if isinstance(result, Outcome):
                found[number] = result
                del rounds[number]
            else:
                rounds[number] = result
    return [found[number] for number in range(len(texts))]


def outputs(
    runner: ModelRunner, texts: Sequence[str], together: bool = True, **options: Any
) -> list[Mapping[str, Any]]:
    """Their outputs."""
    return [outcome.output for outcome in outcomes(runner, texts, together, **options)]
