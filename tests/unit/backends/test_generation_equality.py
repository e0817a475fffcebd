"""Generation in fp32: batched = one by one = transformers' `generate()`, token by token, for each family."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from tests.unit import models_from_config
from tests.unit.models_from_config import DEVICE, SEQ2SEQ_FAMILIES
from tests.unit.runners import bound, loaded, model_of, run_one
from workers import metrics
from workers.runner import Item, ModelRunner

SENTENCES = [
    "It rained.",
    "Maria Silva met Dr. John Smith in Berlin, and nobody was hurt.",
    "x",
    "A library of functions for reading, writing and checking small files is behind the park next to the bakery",
    "Olá mundo, o relatório ficou pronto às nove horas?",
]
LANGUAGES = {
    "m2m100": ("en", "pt"),
    "nllb": ("eng_Latn", "por_Latn"),
    "mbart": ("en_XX", "ro_RO"),
    "mbart50": ("en_XX", "pt_XX"),
    "marian-multilingual": ("eng", "por"),
    "t5": ("en", "pt"),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 4, "early_stopping": False, "length_penalty": 0.6, "max_length": 12},
    "beams, early": {"num_beams": 3, "early_stopping": True, "min_length": 5},
    "beams, never": {"num_beams": 3, "early_stopping": "never", "length_penalty": 2.0, "max_new_tokens": 9},
    "penalties": {"num_beams": 2, "no_repeat_ngram_size": 2, "repetition_penalty": 1.4},
}


class Reference:
    """The same folder, used as transformers' own documentation says."""

    def __init__(self, folder: Path, family: str) -> None:
        self.tokenizer = tf.AutoTokenizer.from_pretrained(folder)
        self.model = tf.AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).to(DEVICE).eval()
        self.family = family

    def tokens(self, text: str, **settings: Any) -> list[int]:
        """Generated tokens, without the start and the end."""
        source, target = LANGUAGES.get(self.family, ("", ""))
        extra: dict[str, Any] = {}
        if self.family == "t5":
            text = "translate English to Portuguese: " + text
        elif self.family == "marian-multilingual":
            text = f">>{target}<< {text}"
        elif target:
            self.tokenizer.src_lang = source
            name = "decoder_start_token_id" if self.family == "mbart" else "forced_bos_token_id"
            extra[name] = self.tokenizer.convert_tokens_to_ids(
                self.tokenizer.get_lang_token(target) if self.family == "m2m100" else target
            )
        inputs = self.tokenizer(text, return_tensors="pt").to(DEVICE)
        inputs.pop("token_type_ids", None)
        [row] = self.model.generate(**inputs, **extra, **settings).tolist()
        end = self.model.config.eos_token_id
        return row[1 : row.index(end, 1)] if end in row[1:] else row[1:]


@pytest.fixture(scope="module", params=list(SEQ2SEQ_FAMILIES))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelRunner, Reference]:
    folder = models_from_config.save_seq2seq(request.param, tmp_path_factory.mktemp("seq2seq"))
    source, target = LANGUAGES.get(request.param, ("en", "pt"))
    runner = loaded(folder, "translation", languages=([source], [target]))
    return runner, Reference(folder, request.param)


def prepared(runner: ModelRunner, **settings: Any) -> list[Item]:
    plan = bound(runner, **settings)
    items = [item for text in SENTENCES for item in plan.prepare(text).items]
    assert len(items) == len(SENTENCES)
    return items


@pytest.mark.parametrize("name", list(SETTINGS))
def test_batched_equals_one_by_one_equals_generate(pair: tuple[ModelRunner, Reference], name: str) -> None:
    runner, reference = pair
    settings = SETTINGS[name]
    expected = [reference.tokens(text, **settings) for text in SENTENCES]
    assert len({tuple(tokens) for tokens in expected}) > 3, "the random model must answer differently"
    items = prepared(runner, **settings)
    assert [g.ids for g in runner.run(items)] == expected
    # `generate()` ran them one by one; that the runner does the same alone is seen on the shortest and the longest.
    assert [run_one(runner, items[i]).ids for i in (0, 3)] == [expected[i] for i in (0, 3)]


def test_text_is_tokenized_and_decoded_as_transformers_does(pair: tuple[ModelRunner, Reference]) -> None:
    runner, reference = pair
    codec = model_of(runner).codec
    for text in [*SENTENCES, "  two  spaces ", "今日は 😀 Lisboa", "e\u0301"]:
        expected = reference.tokenizer(text, add_special_tokens=False).input_ids
        assert codec.encode(text) == expected
        starts = codec.starts(text)
        assert len(starts) == len(expected)
        assert starts == sorted(starts)
        assert starts[-1] <= len(text)
        assert codec.decode(expected) == reference.tokenizer.decode(expected, skip_special_tokens=True)


def test_some_items_end_by_themselves_and_some_at_the_limit(pair: tuple[ModelRunner, Reference]) -> None:
    """Otherwise the equality above would say nothing about stopping."""
    runner, _ = pair
    limits = {g.hit_limit for name in SETTINGS for g in runner.run(prepared(runner, **SETTINGS[name]))}
    assert limits == {True, False}


def test_the_canary_runs(pair: tuple[ModelRunner, Reference]) -> None:
    runner, _ = pair
    [generated] = runner.run([runner.canary()])
    assert generated.ids


def test_items_that_have_ended_leave_the_batch(pair: tuple[ModelRunner, Reference]) -> None:
    """Where the answers are of different lengths, the decoder's rows become fewer and fewer."""
    runner, _ = pair
    rows: list[int] = []
    decoder = model_of(runner)._weights.model.get_decoder()
    hook = decoder.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len((args or (kwargs["input_ids"],))[0])), with_kwargs=True
    )
    items = prepared(runner)
    generated = runner.run(items)
    limit: Any = items[0].group
    steps = [limit.max_length - 1 if g.hit_limit else len(g.ids) + 1 for g in generated]
    assert rows == [sum(step < own for own in steps) for step in range(max(steps))]

    rows.clear()
    items = prepared(runner, **SETTINGS["beams"])
    runner.run(items)
    assert rows[0] == len(items), "beams are alike before the first step"
    assert rows[1:] == sorted(rows[1:], reverse=True)
    assert all(count % items[0].rows == 0 for count in rows[1:])
    hook.remove()


def test_settings_that_only_transformers_knows_are_left_to_it(pair: tuple[ModelRunner, Reference]) -> None:
    runner, reference = pair
    base = model_of(runner)._base
    before = metrics.FOREIGN_SEARCHES.labels(runner.name)._value.get()
    base.encoder_no_repeat_ngram_size = 2
    try:
        expected = [reference.tokens(text, encoder_no_repeat_ngram_size=2) for text in SENTENCES]
        assert [g.ids for g in runner.run(prepared(runner))] == expected
    finally:
        base.encoder_no_repeat_ngram_size = None
    assert metrics.FOREIGN_SEARCHES.labels(runner.name)._value.get() == before + len(SENTENCES)
    runner.run(prepared(runner))
    assert metrics.FOREIGN_SEARCHES.labels(runner.name)._value.get() == before + len(SENTENCES)
