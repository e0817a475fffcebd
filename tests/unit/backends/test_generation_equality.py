"""Generation in fp32: batched = one by one = transformers' `generate()`, token by token, for each family and backend.

Which settings a backend answers itself, and which it leaves to its stand-in, is part of what is tested.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from tests.unit import models_from_config
from tests.unit.models_from_config import DEVICE, SEQ2SEQ_FAMILIES
from tests.unit.runners import loaded, model_of, opened_by_name, run_one
from workers import metrics
from workers.kinds import NotOffered
from workers.runner import Item, ModelRunner, Plan, bound

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
    "greedy, lengths": {"min_length": 6, "max_length": 9},
    "greedy, n-grams": {"no_repeat_ngram_size": 2},
    "greedy, unigrams": {"no_repeat_ngram_size": 1, "max_length": 8},
    "greedy, repetition": {"repetition_penalty": 1.3},
    "beams, no masks": {"num_beams": 4, "early_stopping": True, "length_penalty": 0.6, "no_repeat_ngram_size": 0},
    "beams, long": {
        "num_beams": 3,
        "early_stopping": True,
        "length_penalty": 2.0,
        "max_new_tokens": 9,
        "no_repeat_ngram_size": 0,
    },
    "beams, flat": {"num_beams": 2, "early_stopping": True, "length_penalty": 0.0, "no_repeat_ngram_size": 0},
    "beams, n-grams": {"num_beams": 4, "early_stopping": True, "no_repeat_ngram_size": 2},
}
EACH_OF_TORCH = list(SETTINGS)[:5]
"""What its own search and transformers' processors are tried with; the others try where CTranslate2's rules part."""
GREEDY = {"greedy", "greedy, lengths", "greedy, n-grams"}
FREE_BEAMS = {"beams, no masks", "beams, long", "beams, flat"}
"""Nothing may not be said in them."""
BY_CTRANSLATE2 = {
    "bart": GREEDY,
    "marian": {*GREEDY, *FREE_BEAMS, "greedy, unigrams", "greedy, repetition", "beams, early", "beams, n-grams"},
    "marian-multilingual": {*GREEDY, *FREE_BEAMS} - {"greedy, n-grams"},
    "m2m100": GREEDY,
    "nllb": GREEDY,
    "mbart": {*GREEDY, *FREE_BEAMS} - {"greedy, n-grams"},
    "mbart50": GREEDY,
    "pegasus": {*GREEDY, *FREE_BEAMS} - {"greedy, n-grams"},
    "t5": {*GREEDY, *FREE_BEAMS} - {"greedy, n-grams"},
}
"""What CTranslate2 answers as `generate()` does. Marian, as its checkpoints are, has `renormalize_logits` and may not
say the token that decoding starts with; BART, M2M100, NLLB and mBART-50 force tokens; mBART, Pegasus and T5 might
say their start again."""


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


@dataclass
class Family:
    """One family's checkpoint: as transformers runs it, by torch alone, and as `auto` runs it."""

    name: str
    folder: Path

    def __post_init__(self) -> None:
        source, target = LANGUAGES.get(self.name, ("en", "pt"))
        self.languages = ([source], [target])
        self.reference = Reference(self.folder, self.name)
        self.torch = loaded(self.folder, "translation", languages=self.languages, backend="torch")
        self.by_name = opened_by_name(self.folder, "translation", languages=self.languages, name=self.name)
        self._expected: dict[str, list[list[int]]] = {}

    def expected(self, name: str) -> list[list[int]]:
        if name not in self._expected:
            self._expected[name] = [self.reference.tokens(text, **SETTINGS[name]) for text in SENTENCES]
        return self._expected[name]


@pytest.fixture(scope="module", params=list(SEQ2SEQ_FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    return Family(request.param, models_from_config.save_seq2seq(request.param, tmp_path_factory.mktemp("seq2seq")))


@pytest.fixture(scope="module")
def pair(family: Family) -> tuple[ModelRunner, Reference]:
    return family.torch, family.reference


def prepared(runner: ModelRunner, **settings: Any) -> list[Item]:
    return items_of(runner.bind("translation", settings))


def items_of(plan: Plan) -> list[Item]:
    items = [item for text in SENTENCES for item in plan.prepare(text).items]
    assert len(items) == len(SENTENCES)
    return items


@pytest.mark.parametrize("name", EACH_OF_TORCH)
def test_batched_equals_one_by_one_equals_generate(family: Family, name: str) -> None:
    runner, settings, expected = family.torch, SETTINGS[name], family.expected(name)
    assert len({tuple(tokens) for tokens in expected}) > 2, "the random model must answer differently"
    items = prepared(runner, **settings)
    assert [g.ids for g in runner.run(items)] == expected
    # `generate()` ran them one by one; that the runner does the same alone is seen on the shortest and the longest.
    assert [run_one(runner, items[i]).ids for i in (0, 3)] == [expected[i] for i in (0, 3)]


@pytest.mark.parametrize("name", list(SETTINGS))
def test_auto_answers_as_generate_by_the_fastest_backend_that_does(family: Family, name: str) -> None:
    runner, plan = bound(family.by_name, family.name, "translation", SETTINGS[name])
    fast = name in BY_CTRANSLATE2[family.name]
    assert (runner.name, runner.backend.name) == (
        (family.name, "ctranslate2") if fast else (f"{family.name} by torch", "torch")
    )
    assert (runner.dtype, runner.revision) == ("float32", family.torch.revision)
    items = items_of(plan)
    if fast:  # what torch answers is compared above
        generated, expected = runner.run(items), family.expected(name)
        assert [g.ids for g in generated] == expected
        assert [run_one(runner, item).ids for item in items] == expected
        if name.startswith("greedy"):
            assert [g.hit_limit for g in generated] == [g.hit_limit for g in family.torch.run(items)]


def test_by_name_ctranslate2_searches_by_its_own_rules_and_leaves_what_it_lacks(family: Family) -> None:
    """A forced end, several beams, repeated n-grams: lengths and constraints hold, if not every token."""
    runner = loaded(family.folder, "translation", languages=family.languages, backend="ctranslate2")
    for name in ("beams", "beams, early", "beams, n-grams"):
        items = prepared(runner, **SETTINGS[name])
        settings: Any = items[0].group
        for generated in runner.run(items):
            assert settings.min_length - 1 <= len(generated.ids) < settings.max_length
            bigrams = list(itertools.pairwise(generated.ids))
            assert settings.no_repeat_ngram_size != 2 or len(set(bigrams)) == len(bigrams)
    with pytest.raises(NotOffered, match="never"):
        prepared(runner, **SETTINGS["beams, never"])
    with pytest.raises(NotOffered, match="repetition_penalty"):
        prepared(runner, **SETTINGS["penalties"])


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
    limits = {g.hit_limit for name in EACH_OF_TORCH for g in runner.run(prepared(runner, **SETTINGS[name]))}
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
