"""Text generation in fp32: batched = one by one = transformers' `generate()`, token by token; limits."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from tests.unit import encoders_from_config as made
from tests.unit.models_from_config import CORPUS, DEVICE
from tests.unit.runners import bound, loaded, model_of, opened_by_name
from tests.unit.tasks.running import outcomes
from textmill import tasks
from textmill.errors import DocumentEmpty, DocumentTooLong, InvalidOptions
from workers import metrics
from workers.backends.torch import continuation
from workers.kinds import Sampling
from workers.runner import ModelRunner
from workers.runner import bound as bound_by_name

FAMILIES = ("gpt2", "llama", "qwen2")
CASES = [(backend, family) for backend in ("torch", "ctranslate2") for family in FAMILIES]
TEXTS = ["It", CORPUS[0], CORPUS[3], "Numbers such as", CORPUS[5]]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"min_new_tokens": 6},
    {"no_repeat_ngram_size": 2},
    {"repetition_penalty": 1.7},
    {"num_beams": 3, "length_penalty": 0.6},
    {"num_beams": 2, "no_repeat_ngram_size": 3, "repetition_penalty": 1.2, "early_stopping": True},
    {"num_beams": 3, "early_stopping": True, "length_penalty": 2.0},
    {"num_beams": 3, "early_stopping": True, "min_new_tokens": 6},
]
BY_CTRANSLATE2 = [SETTINGS[0], SETTINGS[1], SETTINGS[6]]
"""What `auto` leaves to it."""
NEW = 10
WARPERS = {"temperature": tf.TemperatureLogitsWarper, "top_k": tf.TopKLogitsWarper, "top_p": tf.TopPLogitsWarper}


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.fixture(scope="module")
def folder(case: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.save_decoder(case[1], tmp_path_factory.mktemp(case[1]))


@pytest.fixture(scope="module")
def by_name(case: tuple[str, str], folder: Path) -> Callable[[str], ModelRunner]:
    """As a worker has them: torch alone, or what `auto` takes and the second runner for what that leaves."""
    return opened_by_name(folder, "text-generation", name="small", backend="torch" if case[0] == "torch" else "auto")


@pytest.fixture(scope="module")
def runner(by_name: Callable[[str], ModelRunner]) -> ModelRunner:
    return by_name("small")


@functools.cache
def library(folder: Path) -> Any:
    pipe = tf.pipeline("text-generation", model=str(folder), device=DEVICE, dtype=torch.float32)
    pipe.model.generation_config.max_length = None
    pipe.model.generation_config.pad_token_id = pipe.tokenizer.eos_token_id
    return pipe


def of_library(pipe: Any, ids: list[int], **options: Any) -> list[int]:
    """The new tokens, without the end."""
    row, end = torch.tensor([ids], device=DEVICE), pipe.tokenizer.eos_token_id
    with torch.inference_mode():
        [found] = pipe.model.generate(row, attention_mask=torch.ones_like(row), do_sample=False, **options).tolist()
    new: list[int] = found[len(ids) :]
    return new[: new.index(end)] if end in new else new


def foreign(runner: ModelRunner) -> float:
    return metrics.FOREIGN_SEARCHES.labels(runner.name)._value.get()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_equal_to_generate_one_by_one(
    case: tuple[str, str], by_name: Callable[[str], ModelRunner], folder: Path, settings: dict[str, Any]
) -> None:
    pipe = library(folder)
    options = {**settings, "max_new_tokens": NEW}
    runner, plan = bound_by_name(by_name, "small", "text-generation", options)
    assert runner.backend.name == (case[0] if settings in BY_CTRANSLATE2 else "torch")
    before = foreign(runner)
    items = [plan.prepare(text).items[0] for text in TEXTS]
    together = runner.run(items)
    apart = [runner.run([item])[0] for item in items]
    lengths = set()
    for item, one, other in zip(items, together, apart, strict=True):
        assert one == other
        assert list(one.ids) == of_library(pipe, item.payload, **options)
        assert one.hit_limit == (len(one.ids) == NEW)
        lengths.add(len(one.ids))
    assert len(lengths) > 1 or settings, "texts that all end at once try little"
    assert foreign(runner) == before, "by our own search"


@pytest.mark.parametrize("settings", BY_CTRANSLATE2, ids=str)
def test_texts_that_could_not_be_one_generation_share_no_batch(
    case: tuple[str, str], by_name: Callable[[str], ModelRunner], settings: dict[str, Any]
) -> None:
    _, plan = bound_by_name(by_name, "small", "text-generation", {**settings, "max_new_tokens": NEW})
    items = [plan.prepare(text).items[0] for text in [*TEXTS, TEXTS[1]]]
    lengths = {item.length for item in items}
    assert len(lengths) > 1
    groups = len(lengths) if settings and case[0] == "ctranslate2" else 1
    assert len({item.group for item in items}) == groups


@pytest.mark.parametrize("family", sorted(made.DECODERS.keys() - set(FAMILIES)))
def test_other_families_are_equal_by_ctranslate2(family: str, tmp_path: Path) -> None:
    folder = made.save_decoder(family, tmp_path)
    runner, pipe = loaded(folder, "text-generation"), library(folder)
    assert runner.backend.name == "ctranslate2"
    items = [bound(runner, max_new_tokens=NEW).prepare(text).items[0] for text in TEXTS]
    for item, found in zip(items, runner.run(items), strict=True):
        assert list(found.ids) == of_library(pipe, item.payload, max_new_tokens=NEW)


def test_equal_to_the_text_of_the_pipeline(runner: ModelRunner, folder: Path) -> None:
    pipe = library(folder)
    found = outcomes(runner, TEXTS, max_new_tokens=NEW)
    for text, outcome in zip(TEXTS, found, strict=True):
        [expected] = pipe(text, max_new_tokens=NEW, do_sample=False, return_full_text=False)
        # The pipeline decodes the new tokens alone, and many tokenizers take away the space that comes first then.
        assert outcome.output["generated_text"].lstrip() == expected["generated_text"].lstrip()
    assert {outcome.truncated for outcome in found} <= {True, False}
    assert all(outcome.output_tokens <= NEW for outcome in found)


def test_text_and_what_is_generated_fit_into_the_window(runner: ModelRunner) -> None:
    room = 20
    plan = bound(runner, max_new_tokens=room)
    text = "It rained. " * 200
    with pytest.raises(DocumentTooLong, match=f"and {room} are to be generated: the model's window takes 128 together"):
        plan.prepare(text)
    codec = model_of(runner).codec
    longest = max(n for n in range(200) if len(codec.encode("It rained. " * n)) <= 128 - room - 1)
    prepared = plan.prepare("It rained. " * longest)
    assert prepared.items[0].length + room <= 128


def test_without_a_word_of_it_so_many_tokens_are_generated(tmp_path: Path) -> None:
    own = loaded(made.save_decoder("gpt2", tmp_path / "own", max_new_tokens=7), "text-generation", window=128)
    none = loaded(made.save_decoder("gpt2", tmp_path / "none"), "text-generation", window=128)
    lengths = [bound(runner).prepare("It").items[0].group.settings.max_length - 1 for runner in (own, none)]
    assert lengths == [7, 64]  # the checkpoint's; 128, but half of a small window


def test_a_checkpoints_sampling_is_left_out(tmp_path: Path) -> None:
    folder = made.save_decoder("qwen2", tmp_path, do_sample=True, temperature=0.7, top_k=20, repetition_penalty=1.3)
    runner = loaded(folder, "text-generation", window=128, backend="torch")
    first, again = (outcomes(runner, TEXTS, max_new_tokens=NEW) for _ in range(2))
    assert [outcome.output for outcome in first] == [outcome.output for outcome in again]
    assert bound(runner).prepare("It").items[0].group.settings.repetition_penalty == 1.3


def test_what_is_drawn_hangs_on_seed_and_text_alone(by_name: Callable[[str], ModelRunner]) -> None:
    runner, _ = bound_by_name(by_name, "small", "text-generation", {"do_sample": True, "seed": 1})
    assert runner.backend.name == "torch"
    drawn = {"do_sample": True, "temperature": 1.5, "top_k": 50, "max_new_tokens": NEW}
    found = [[o.output["generated_text"] for o in outcomes(runner, TEXTS, together, seed=seed, **drawn)]
             for seed, together in ((1, True), (1, False), (2, True))]  # fmt: skip
    assert found[0] == found[1], "the batch changes nothing"
    assert sum(one != other for one, other in zip(found[0], found[2], strict=True)) > 2, "the seed does"
    backwards = outcomes(runner, TEXTS[::-1], seed=1, **drawn)
    assert [outcome.output["generated_text"] for outcome in backwards[::-1]] == found[0]
    [greedy] = outcomes(runner, TEXTS[1:2], max_new_tokens=NEW)
    [nearly] = outcomes(runner, TEXTS[1:2], max_new_tokens=NEW, do_sample=True, seed=3, top_k=1)
    assert greedy.output == nearly.output


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.6}, {"top_p": 0.7}, {"top_k": 4, "top_p": 0.8}])
def test_tokens_are_drawn_by_their_probabilities(settings: dict[str, Any]) -> None:
    """Of evenly spread numbers each token gets its share, which is what transformers' own warpers make of it."""
    torch.manual_seed(1)
    scores, count = torch.randn(1, 12) * 2, 20_000
    warped = scores
    for name, warper in WARPERS.items():
        if name in settings:
            warped = warper(settings[name])(None, warped)
    numbers = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    found = continuation.drawn(scores.expand(count, -1), Sampling(seed=0, **settings), numbers).bincount(minlength=12)
    assert torch.allclose(found / count, warped.softmax(-1)[0], atol=2 / count)
    edge = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert found[continuation.drawn(scores, Sampling(seed=0, **settings), edge)] > 0


def test_nothing_to_go_on_from(tmp_path: Path) -> None:
    gpt2 = loaded(made.save_decoder("gpt2", tmp_path / "gpt2"), "text-generation", window=128)
    with pytest.raises(DocumentEmpty):
        bound(gpt2).prepare("")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 128}, "has a window of 128 tokens, for the text and what is generated"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens 9 is above max_new_tokens 8"),
        ({"max_length": 20}, "text-generation has no such option"),
        ({"do_sample": True}, "do_sample needs a seed"),
        ({"temperature": 0.5}, "temperature: without do_sample nothing is drawn"),
        ({"do_sample": True, "seed": 1, "num_beams": 2}, "a beam search draws nothing"),
    ],
)
def test_lengths_that_cannot_be(runner: ModelRunner, options: Any, message: str) -> None:
    with pytest.raises(InvalidOptions, match=message):
        tasks.get("text-generation").canonical(runner.spec, options)
