"""What summarization and translation do with documents: structure, long texts, languages, limits."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.unit import models_from_config
from tests.unit.models_from_config import CORPUS, DEVICE
from textmill.errors import DeviceOutOfMemory, DocumentTooLong, ModelUnavailable, ProcessingFailed, ReduceDidNotConverge
from textmill.tasks import Offer
from textmill.tasks.translation import TranslationOffer
from workers import models as factory
from workers.backends.torch.generation import Generated
from workers.backends.torch.seq2seq import Seq2SeqRunner
from workers.runner import Outcome, Prepared

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
    for family in ("marian", "bart", "t5", "nllb"):
        models_from_config.save_seq2seq(family, folder)
    return folder


def opened(folder: Path, task: Any = "translation", **extra: Any) -> Seq2SeqRunner:
    runner = Seq2SeqRunner("small", task, str(folder), device=DEVICE, dtype="float32", **extra)
    runner.open()
    return runner


@pytest.fixture(scope="module")
def marian(folders: Path) -> Seq2SeqRunner:
    runner = opened(folders / "marian", source_langs=["en"], target_langs=["pt"])
    runner.load()
    return runner


@pytest.fixture(scope="module")
def bart(folders: Path) -> Seq2SeqRunner:
    runner = opened(folders / "bart", "summarization")
    runner.load()
    return runner


def outcome(runner: Seq2SeqRunner, prepared: Prepared) -> tuple[Outcome, int]:
    """The document's outcome, and how many rounds it took."""
    rounds = 0
    while True:
        rounds += 1
        result = runner.assemble(prepared, runner.run(prepared.items) if prepared.items else [])
        if isinstance(result, Outcome):
            return result, rounds
        prepared = result


def echo(runner: Seq2SeqRunner, prepared: Prepared) -> list[Generated]:
    """A model that gives each item back: what is left to see is what becomes of the rest."""
    frame = next(iter(runner._routes.values())).frame
    first, after = len(frame.prefix), len(frame.suffix)
    return [Generated(item.payload[first : len(item.payload) - after], False) for item in prepared.items]


# --- translation ------------------------------------------------------------------------------------------------------


def test_translation_puts_the_document_back_together(marian: Seq2SeqRunner) -> None:
    prepared = marian.prepare(DOCUMENT, {})
    numbers = {i: Generated(marian._codec.encode(f"Numero {i}"), False) for i in range(len(prepared.items))}
    result = marian.assemble(prepared, list(numbers.values()))
    assert isinstance(result, Outcome)
    assert result.output is not None
    text = result.output["translation_text"]
    for i in numbers:
        text = text.replace(marian._codec.decode(numbers[i].ids), "#", 1)
    assert text == (
        "  #\n\n# #\r\n#\t#\n\n- [ ] #\n  * #\n\n"
        "```\ncode = stays\n```\n| # | # |\n|------|------|\n| # | 12   |\n42\n\n#"
    )


def test_a_sentence_is_an_item_and_the_same_sentence_is_translated_once(marian: Seq2SeqRunner) -> None:
    prepared = marian.prepare("It rained. It rained. The old bridge fell.\n\nIt rained.", {})
    assert (len(prepared.items), prepared.pieces) == (2, 2)
    result, _ = outcome(marian, prepared)
    assert result.output is not None
    parts = result.output["translation_text"].split("\n\n")
    assert len(parts) == 2
    assert parts[1] in parts[0]


def test_a_soft_line_end_is_a_space_for_the_model(marian: Seq2SeqRunner) -> None:
    wrapped, plain = (marian.prepare(text, {}).items for text in ("The old\nbridge fell.", "The old bridge fell."))
    assert [i.payload for i in wrapped] == [i.payload for i in plain]


@pytest.mark.parametrize(
    "sentence",
    ["word " * 300, "a" * 5_000, "clause of it, " * 150, "今日は" * 300, "e\u0301" * 500],
    ids=["spaces", "word", "clauses", "unknown", "accents"],
)
def test_an_over_long_sentence_is_cut_to_pieces_that_fit(marian: Seq2SeqRunner, sentence: str) -> None:
    prepared = marian.prepare(sentence, {})
    assert all(item.length == len(item.payload) <= 128 for item in prepared.items)
    assert prepared.input_tokens >= len(marian._codec.encode(sentence)) * 0.95
    copied = "".join(part for part in prepared.memo.parts if isinstance(part, str))
    assert not copied.strip(), "everything with letters goes to the model"


def test_an_enormous_word_takes_linear_time(marian: Seq2SeqRunner) -> None:
    assert marian.prepare("ab" * 100_000, {}).pieces >= 1


@pytest.mark.parametrize("text", ["", "\n\n", "42\n---\n", "😀"])
def test_what_has_no_letters_is_copied(marian: Seq2SeqRunner, text: str) -> None:
    prepared = marian.prepare(text, {})
    assert not prepared.items
    assert marian.assemble(prepared, []) == Outcome({"translation_text": text})


def test_counts_and_truncation(marian: Seq2SeqRunner) -> None:
    prepared = marian.prepare("It rained. The bridge fell.", {"max_length": 6})
    result = marian.assemble(prepared, [Generated([5, 6, 7], False), Generated([5, 6, 7, 8, 9], True)])
    assert isinstance(result, Outcome)
    assert (result.output_tokens, result.pieces, result.truncated) == (8, 2, True)
    assert result.input_tokens == sum(item.length for item in prepared.items) - 2
    result = marian.assemble(prepared, [Generated([5, 6, 7], False), Generated([5], False)])
    assert isinstance(result, Outcome)
    assert not result.truncated


def test_long_documents_error(marian: Seq2SeqRunner, bart: Seq2SeqRunner) -> None:
    for runner in (marian, bart):
        with pytest.raises(DocumentTooLong, match="window takes"):
            runner.prepare("The bridge fell. " * 60, {"long_documents": "error"})
        assert runner.prepare("The bridge fell.", {"long_documents": "error"}).items


def test_items_carry_rows_and_group(marian: Seq2SeqRunner) -> None:
    [one] = marian.prepare("It rained.", {"num_beams": 3, "length_penalty": 1.0}).items
    [same] = marian.prepare("The bridge fell.", {"length_penalty": 1.0, "num_beams": 3}).items
    [other] = marian.prepare("It rained.", {"num_beams": 2, "length_penalty": 1.0}).items
    assert (one.rows, other.rows) == (3, 2)
    assert one.group == same.group != other.group


# --- languages --------------------------------------------------------------------------------------------------------


def test_languages_in_the_catalogues_spelling(folders: Path) -> None:
    runner = opened(
        folders / "nllb", source_langs=["en", "fr"], target_langs=["pt", "en"], lang_codes={"en": "eng_Latn"}
    )
    codes = runner._codec._tokenizer.convert_tokens_to_ids
    [item] = runner.prepare("It rained.", {"source_lang": "en", "target_lang": "pt"}).items
    assert item.payload[0] == codes("eng_Latn")
    assert dict(item.group[1].others) == {"forced_bos_token_id": codes("por_Latn")}
    with pytest.raises(ProcessingFailed, match="needs source_lang"):
        runner.prepare("It rained.", {"target_lang": "pt"})
    with pytest.raises(ProcessingFailed, match="'xx'"):
        runner.prepare("It rained.", {"source_lang": "en", "target_lang": "xx"})


def test_two_languages_are_two_groups(folders: Path) -> None:
    runner = opened(folders / "nllb", source_langs=["eng_Latn"], target_langs=["por_Latn", "fra_Latn"])
    groups = {runner.prepare("It rained.", {"target_lang": t}).items[0].group for t in ("por_Latn", "fra_Latn")}
    assert len(groups) == 2


def test_t5_gets_its_prefix_and_settings_for_the_task(folders: Path) -> None:
    summarizer = opened(folders / "t5", "summarization")
    text = summarizer._codec.decode(summarizer.prepare("It rained for three days.", {}).items[0].payload)
    assert text.replace(" ", "").startswith("summari")  # the tiny vocabulary has no z
    assert summarizer.prepare("It rained for three days.", {}).items[0].rows == 2
    given = opened(folders / "t5", "summarization", prefix="")
    assert given.prepare("It rained.", {}).items[0].length < summarizer.prepare("It rained.", {}).items[0].length


# --- summarization ----------------------------------------------------------------------------------------------------


def test_what_fits_is_summarized_once(bart: Seq2SeqRunner) -> None:
    prepared = bart.prepare(CORPUS[0], {"min_length": 2})
    assert len(prepared.items) == 1
    result, rounds = outcome(bart, prepared)
    assert (rounds, result.pieces) == (1, 1)
    assert result.input_tokens == prepared.items[0].length - 2


@pytest.mark.parametrize(("text", "options"), [("", {}), ("It rained.", {"min_length": 14, "max_length": 20})])
def test_a_text_shorter_than_the_summary_is_returned_as_it_is(
    bart: Seq2SeqRunner, text: str, options: dict[str, Any]
) -> None:
    prepared = bart.prepare(text, options)
    assert not prepared.items
    result = bart.assemble(prepared, [])
    assert isinstance(result, Outcome)
    assert result.output == {"summary_text": text}
    assert not result.truncated


def test_longer_text_is_mapped_then_reduced(bart: Seq2SeqRunner) -> None:
    text = "\n\n".join(" ".join(CORPUS) for _ in range(8))
    prepared = bart.prepare(text, {"min_length": 4, "max_length": 12, "num_beams": 2})
    assert len(prepared.items) > 8
    assert all(item.length <= 128 for item in prepared.items)
    lengths = {(item.group[1].min_length, item.group[1].max_length) for item in prepared.items}
    assert all(least == 0 and most <= 12 for least, most in lengths)
    assert len(lengths) <= 2, "chunks of like size share batches"
    tokens = prepared.input_tokens
    result, rounds = outcome(bart, prepared)
    assert rounds >= 2
    assert result.pieces > len(prepared.items)
    assert result.input_tokens == tokens
    assert result.output_tokens <= 12


def test_rounds_that_do_not_shrink_end_with_an_error(bart: Seq2SeqRunner) -> None:
    prepared = bart.prepare(" ".join(CORPUS * 4), {})
    with pytest.raises(ReduceDidNotConverge):
        bart.assemble(prepared, echo(bart, prepared))


def test_the_cap_on_rounds_is_reported(bart: Seq2SeqRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.text.reduce.next_round", lambda *_: "cut")
    prepared = bart.prepare(" ".join(CORPUS * 8), {})
    half = [Generated(g.ids[: len(g.ids) // 2], False) for g in echo(bart, prepared)]
    following = bart.assemble(prepared, half)
    assert isinstance(following, Prepared)
    assert len(following.items) == 1
    result, _ = outcome(bart, following)
    assert result.truncated


# --- the runner -------------------------------------------------------------------------------------------------------


def test_memory_is_counted_and_given_back(folders: Path) -> None:
    runner = opened(folders / "bart")
    assert runner.memory_bytes() == 0
    runner.load()
    size = (folders / "bart" / "model.safetensors").stat().st_size
    assert 0.5 * size < runner.memory_bytes() < 1.5 * size
    runner.unload()
    assert runner.memory_bytes() == 0


def test_running_out_of_memory_holds_no_tensors(marian: Seq2SeqRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(**_: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate ...")

    monkeypatch.setattr(marian._resident.model, "generate", too_much)
    with pytest.raises(DeviceOutOfMemory) as caught:
        marian.run([marian.canary()])
    assert caught.value.__context__ is None


def test_an_error_of_the_model_is_not_taken_for_lack_of_memory(
    marian: Seq2SeqRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(marian._resident.model, "generate", fails)
    with pytest.raises(RuntimeError, match="shapes"):
        marian.run([marian.canary()])


@dataclass
class Entry:
    """The attributes of a catalogue entry that the factory reads."""

    name: str
    task: str | None
    source: str
    path: Path | None = None
    revision: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    dtype: str = "auto"
    window: int = 64
    offer: Offer = field(default_factory=Offer)


def test_the_factory_makes_a_runner_of_an_entry(folders: Path) -> None:
    offer = TranslationOffer(source_langs=["en"], target_langs=["pt"])
    entry = Entry("t", "translation", "../marian", folders / "marian", offer=offer)
    runner = factory.make(entry, DEVICE)
    runner.open()
    assert isinstance(runner, Seq2SeqRunner)
    assert max(item.length for item in runner.prepare("word " * 300, {}).items) <= 64, "the catalogue's window"
    assert type(factory.make(Entry("echo", None, "echo"))).__name__ == "Echo"
    assert type(factory.make(Entry("n", "ner", "someone/model"))).__name__ == "TokenClassificationRunner"
    with pytest.raises(ValueError, match="speech"):
        factory.make(Entry("x", "speech", "y"))


def test_a_device_that_does_not_exist_is_not_replaced_by_another() -> None:
    with pytest.raises(ModelUnavailable, match="CUDA devices"):
        factory.make(Entry("n", "ner", "someone/model"), "cuda:99")
