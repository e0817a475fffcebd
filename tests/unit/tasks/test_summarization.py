"""What summarization does with documents: once where they fit, else map and reduce."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit import models_from_config
from tests.unit.models_from_config import CORPUS
from tests.unit.runners import bound, finish, loaded, model_of, opened
from textmill.errors import DocumentTooLong, ReduceDidNotConverge
from workers.kinds import Generated
from workers.runner import ModelRunner, Outcome, Prepared


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in ("bart", "t5"):
        models_from_config.save_seq2seq(family, folder)
    return folder


@pytest.fixture(scope="module")
def bart(folders: Path) -> ModelRunner:
    return loaded(folders / "bart", "summarization", backend="torch")


def echo(runner: ModelRunner, prepared: Prepared) -> list[Generated]:
    """A model that gives each item back: what is left to see is what becomes of the rest."""
    frame = model_of(runner).codec.frame((None, None))
    first, after = len(frame.prefix), len(frame.suffix)
    return [Generated(item.payload[first : len(item.payload) - after], False) for item in prepared.items]


def test_what_fits_is_summarized_once(bart: ModelRunner) -> None:
    plan = bound(bart, min_length=2)
    prepared = plan.prepare(CORPUS[0])
    assert len(prepared.items) == 1
    result, rounds = finish(bart, plan, prepared)
    assert (rounds, result.pieces) == (1, 1)
    assert result.input_tokens == prepared.items[0].length - 2


@pytest.mark.parametrize(("text", "options"), [("", {}), ("It rained.", {"min_length": 14, "max_length": 20})])
def test_a_text_shorter_than_the_summary_is_returned_as_it_is(
    bart: ModelRunner, text: str, options: dict[str, Any]
) -> None:
    plan = bound(bart, **options)
    prepared = plan.prepare(text)
    assert not prepared.items
    result = plan.assemble(prepared, [])
    assert isinstance(result, Outcome)
    assert result.output == {"summary_text": text}
    assert not result.truncated


def test_longer_text_is_mapped_then_reduced(bart: ModelRunner) -> None:
    text = "\n\n".join(" ".join(CORPUS) for _ in range(8))
    plan = bound(bart, min_length=4, max_length=12, num_beams=2)
    prepared = plan.prepare(text)
    assert len(prepared.items) > 8
    assert all(item.length <= 128 for item in prepared.items)
    groups: list[Any] = [item.group for item in prepared.items]
    lengths = {(group.min_length, group.max_length) for group in groups}
    assert all(least == 0 and most <= 12 for least, most in lengths)
    assert len(lengths) <= 2, "chunks of like size share batches"
    tokens = prepared.input_tokens
    result, rounds = finish(bart, plan, prepared)
    assert rounds >= 2
    assert result.pieces > len(prepared.items)
    assert result.input_tokens == tokens
    assert result.output_tokens <= 12


def test_one_of_the_summaries_of_a_long_texts_parts_is_chosen(bart: ModelRunner) -> None:
    plan = bound(bart, reduce="choose", min_length=4, max_length=12)
    prepared = plan.prepare("\n\n".join(" ".join(CORPUS) for _ in range(8)))
    assert len({item.group for item in prepared.items}) == 1, "each is made as the summary of a text is"
    summaries = ["it rained", "the river and the bridge in Berlin", *["x"] * (len(prepared.items) - 2)]
    codec = model_of(bart).codec
    outcome = plan.assemble(prepared, [Generated(codec.encode(text), text == "x") for text in summaries])
    assert isinstance(outcome, Outcome)
    assert outcome.output == {"summary_text": summaries[1]}
    assert (outcome.pieces, outcome.truncated) == (len(prepared.items), False)
    assert outcome.output_tokens == len(codec.encode(summaries[1]))


def test_rounds_that_do_not_shrink_end_with_an_error(bart: ModelRunner) -> None:
    plan = bound(bart)
    prepared = plan.prepare(" ".join(CORPUS * 4))
    with pytest.raises(ReduceDidNotConverge):
        plan.assemble(prepared, echo(bart, prepared))


def test_the_cap_on_rounds_is_reported(bart: ModelRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.text.reduce.next_round", lambda *_: "cut")
    plan = bound(bart)
    prepared = plan.prepare(" ".join(CORPUS * 8))
    half = [Generated(g.ids[: len(g.ids) // 2], False) for g in echo(bart, prepared)]
    following = plan.assemble(prepared, half)
    assert isinstance(following, Prepared)
    assert len(following.items) == 1
    result, _ = finish(bart, plan, following)
    assert result.truncated


def test_long_documents_error(bart: ModelRunner) -> None:
    plan = bound(bart, long_documents="error")
    with pytest.raises(DocumentTooLong, match="window takes"):
        plan.prepare("The bridge fell. " * 60)
    assert plan.prepare("The bridge fell.").items


def test_t5_gets_its_prefix_and_settings_for_the_task(folders: Path) -> None:
    summarizer = opened(folders / "t5", "summarization", backend="torch")
    [item] = bound(summarizer).prepare("It rained for three days.").items
    text = model_of(summarizer).codec.decode(item.payload)
    assert text.replace(" ", "").startswith("summari")  # the tiny vocabulary has no z
    assert item.rows == 2
    # The prefix takes room of the window, and is no token of the text.
    assert bound(summarizer).prepare("It rained for three days.").input_tokens < item.length - 1
