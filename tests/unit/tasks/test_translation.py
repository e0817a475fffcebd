"""What translation does with documents: structure, long sentences, languages, limits."""

from pathlib import Path

import pytest

from tests.unit import models_from_config
from tests.unit.runners import bound, finish, loaded, model_of, opened
from textmill.errors import DocumentTooLong, InvalidOptions, ProcessingFailed
from workers.kinds import Generated
from workers.runner import ModelRunner, Outcome

DOCUMENT = """\
  Title of it all

First sentence here. Second one\r
goes on.\tA cell

- [ ] one item
  * another:  two  spaces

```
code = stays
```
| Name | Size |
|------|------|
| tree | 12   |
42

Last line without end"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in ("marian", "nllb"):
        models_from_config.save_seq2seq(family, folder)
    return folder


@pytest.fixture(scope="module")
def marian(folders: Path) -> ModelRunner:
    return loaded(folders / "marian", "translation", backend="torch")


def text_of(outcome: Outcome) -> str:
    return str(outcome.output["translation_text"])


def test_translation_puts_the_document_back_together(marian: ModelRunner) -> None:
    plan, codec = bound(marian), model_of(marian).codec
    prepared = plan.prepare(DOCUMENT)
    numbers = {i: Generated(codec.encode(f"Numero {i}"), False) for i in range(len(prepared.items))}
    result = plan.assemble(prepared, list(numbers.values()))
    assert isinstance(result, Outcome)
    text = text_of(result)
    for i in numbers:
        text = text.replace(codec.decode(numbers[i].ids), "#", 1)
    assert text == (
        "  #\n\n# #\r\n#\t#\n\n- [ ] #\n  * #\n\n"
        "```\ncode = stays\n```\n| # | # |\n|------|------|\n| # | 12   |\n42\n\n#"
    )


def test_a_sentence_is_an_item_and_the_same_sentence_is_translated_once(marian: ModelRunner) -> None:
    plan = bound(marian)
    prepared = plan.prepare("It rained. It rained. The old bridge fell.\n\nIt rained.")
    assert (len(prepared.items), prepared.pieces) == (2, 2)
    result, _ = finish(marian, plan, prepared)
    parts = text_of(result).split("\n\n")
    assert len(parts) == 2
    assert parts[1] in parts[0]


def test_a_soft_line_end_is_a_space_for_the_model(marian: ModelRunner) -> None:
    wrapped, plain = (bound(marian).prepare(text).items for text in ("The old\nbridge fell.", "The old bridge fell."))
    assert [i.payload for i in wrapped] == [i.payload for i in plain]


@pytest.mark.parametrize(
    "sentence",
    ["word " * 300, "a" * 5_000, "clause of it, " * 150, "今日は" * 300, "e\u0301" * 500],
    ids=["spaces", "word", "clauses", "unknown", "accents"],
)
def test_an_over_long_sentence_is_cut_to_pieces_that_fit(marian: ModelRunner, sentence: str) -> None:
    prepared = bound(marian).prepare(sentence)
    assert all(item.length == len(item.payload) <= 128 for item in prepared.items)
    assert prepared.input_tokens >= len(model_of(marian).codec.encode(sentence)) * 0.95
    copied = "".join(part for part in prepared.memo.parts if isinstance(part, str))
    assert not copied.strip(), "everything with letters goes to the model"


def test_the_catalogues_window_holds(folders: Path) -> None:
    narrow = opened(folders / "marian", "translation", window=64)
    assert max(item.length for item in bound(narrow).prepare("word " * 300).items) <= 64


def test_an_enormous_word_takes_linear_time(marian: ModelRunner) -> None:
    assert bound(marian).prepare("ab" * 100_000).pieces >= 1


@pytest.mark.parametrize("text", ["", "\n\n", "42\n---\n", "😀"])
def test_what_has_no_letters_is_copied(marian: ModelRunner, text: str) -> None:
    plan = bound(marian)
    prepared = plan.prepare(text)
    assert not prepared.items
    assert plan.assemble(prepared, []) == Outcome({"translation_text": text})


def test_counts_and_truncation(marian: ModelRunner) -> None:
    plan = bound(marian, max_length=6)
    prepared = plan.prepare("It rained. The bridge fell.")
    result = plan.assemble(prepared, [Generated([5, 6, 7], False), Generated([5, 6, 7, 8, 9], True)])
    assert isinstance(result, Outcome)
    assert (result.output_tokens, result.pieces, result.truncated) == (8, 2, True)
    assert result.input_tokens == sum(item.length for item in prepared.items) - 2
    result = plan.assemble(prepared, [Generated([5, 6, 7], False), Generated([5], False)])
    assert isinstance(result, Outcome)
    assert not result.truncated


def test_long_documents_error(marian: ModelRunner) -> None:
    plan = bound(marian, long_documents="error")
    with pytest.raises(DocumentTooLong, match="window takes"):
        plan.prepare("The bridge fell. " * 60)
    assert plan.prepare("The bridge fell.").items


def test_items_carry_rows_and_group(marian: ModelRunner) -> None:
    [one] = bound(marian, num_beams=3, length_penalty=1.0).prepare("It rained.").items
    [same] = bound(marian, length_penalty=1.0, num_beams=3).prepare("The bridge fell.").items
    [other] = bound(marian, num_beams=2, length_penalty=1.0).prepare("It rained.").items
    assert (one.rows, other.rows) == (3, 2)
    assert one.group == same.group != other.group


def test_equal_sentences_with_equal_settings_are_known(marian: ModelRunner) -> None:
    options = [{"num_beams": 3, "length_penalty": 1.0}, {"length_penalty": 1.0, "num_beams": 3}, {"num_beams": 2}]
    one, equal, other = (bound(marian, **given).prepare("It rained.").items[0].same for given in options)
    [else_where] = bound(marian, num_beams=3, length_penalty=1.0).prepare("The bridge fell.").items
    assert one is not None
    assert one == equal
    assert len({one, other, else_where.same}) == 3
    output = Generated([5] * 100, False)
    assert marian.kept(output)[0] is output
    assert marian.kept(output)[1] > 2 * marian.kept(Generated([5] * 30, False))[1]


# --- languages --------------------------------------------------------------------------------------------------------


def test_languages_in_the_catalogues_spelling(folders: Path) -> None:
    runner = opened(
        folders / "nllb", "translation", languages=(["en", "fr"], ["pt", "en"]), lang_codes={"en": "eng_Latn"}
    )
    codes = model_of(runner).codec._tokenizer.convert_tokens_to_ids
    [item] = bound(runner, source_lang="en", target_lang="pt").prepare("It rained.").items
    assert item.payload[0] == codes("eng_Latn")
    group = item.group
    assert getattr(group, "forced_bos_token_id", None) == codes("por_Latn")
    with pytest.raises(InvalidOptions, match="needs source_lang"):
        bound(runner, target_lang="pt")
    with pytest.raises(InvalidOptions, match="'xx'"):
        bound(runner, source_lang="en", target_lang="xx")


def test_a_language_that_the_catalogue_offers_and_the_tokenizer_lacks(folders: Path) -> None:
    runner = opened(folders / "nllb", "translation", languages=(["en"], ["pt", "xx"]))
    with pytest.raises(ProcessingFailed, match="'xx'"):
        bound(runner, target_lang="xx")


def test_two_spellings_of_a_language_stay_apart(folders: Path) -> None:
    """What passes the door is what the worker takes: `pt-BR` means `pt_br` where both are offered."""
    codes = {"en": "eng_Latn", "pt": "por_Latn", "pt_br": "fra_Latn"}
    runner = opened(folders / "nllb", "translation", languages=(["en"], ["pt", "pt_br"]), lang_codes=codes)
    ids = model_of(runner).codec._tokenizer.convert_tokens_to_ids
    [item] = bound(runner, target_lang="pt-BR").prepare("It rained.").items
    assert getattr(item.group, "forced_bos_token_id", None) == ids("fra_Latn")


def test_two_languages_are_two_groups(folders: Path) -> None:
    runner = opened(folders / "nllb", "translation", languages=(["eng_Latn"], ["por_Latn", "fra_Latn"]))
    groups = {bound(runner, target_lang=t).prepare("It rained.").items[0].group for t in ("por_Latn", "fra_Latn")}
    assert len(groups) == 2
