"""Which generation setting wins: the job's over the catalogue's over the checkpoint's."""

from typing import Any

import pytest
from transformers import GenerationConfig

from textmill.tasks.generation import lay_over
from workers.checkpoint.generation import applied, base_of, defaults_of, finished
from workers.kinds import Frame, Generated, GenerationSettings
from workers.tasks.generating import DEFAULT_LENGTH, settings_of

CHECKPOINT = GenerationConfig(
    max_length=142, min_length=56, num_beams=4, length_penalty=2.0, eos_token_id=2, do_sample=True, temperature=0.7
)
BARE = Frame((), ())


def settings(
    catalogue: dict[str, Any], job: dict[str, Any], limit: int | None, frame: Frame = BARE
) -> GenerationSettings:
    return settings_of(defaults_of(base_of(CHECKPOINT), {}), lay_over(catalogue, job), limit, frame)


@pytest.mark.parametrize(
    ("catalogue", "job", "limit", "expected"),
    [
        ({}, {}, 1024, {"max_length": 142, "min_length": 56, "num_beams": 4, "length_penalty": 2.0}),
        ({"num_beams": 2}, {}, 1024, {"num_beams": 2}),
        ({"num_beams": 2}, {"num_beams": 1}, 1024, {"num_beams": 1}),
        ({}, {"max_new_tokens": 99}, 1024, {"max_length": 100}),
        ({"max_new_tokens": 9}, {"max_length": 80}, 1024, {"max_length": 80}),
        ({"max_length": 80}, {"max_new_tokens": 99}, 1024, {"max_length": 100}),
        ({}, {"max_length": 20}, 1024, {"max_length": 20, "min_length": 10}),  # the checkpoint's 56 does not fit
        ({}, {"max_length": 50, "min_length": 50}, 1024, {"max_length": 50, "min_length": 50}),  # exactly as asked
        ({}, {"min_length": 0}, 1024, {"min_length": 0}),
        ({}, {}, 128, {"max_length": 128}),  # the model gives no more
        ({}, {"max_length": 90, "min_length": 80}, 64, {"max_length": 64, "min_length": 32}),
        ({}, {"long_documents": "error", "source_lang": "en"}, 1024, {"max_length": 142}),
    ],
)
def test_layers(catalogue: dict[str, Any], job: dict[str, Any], limit: int, expected: dict[str, Any]) -> None:
    found = settings(catalogue, job, limit)
    assert {name: getattr(found, name) for name in expected} == expected


def test_what_is_not_asked_for_stays_the_checkpoints() -> None:
    base = base_of(CHECKPOINT)
    wanted = settings({}, {"repetition_penalty": 1.3}, None, Frame((), (), forced_bos_token_id=7))
    config = applied(base, wanted)
    assert (config.length_penalty, config.repetition_penalty, config.forced_bos_token_id) == (2.0, 1.3, 7)
    assert config.do_sample is False
    assert config.temperature is None
    assert base.repetition_penalty is None, "the checkpoint's own are not changed"


def test_settings_of_the_configuration_for_the_task_come_between() -> None:
    preset = {"num_beams": 2, "max_length": 200, "prefix": "summarize: ", "vocab_size": 3}
    found = defaults_of(base_of(CHECKPOINT), preset)
    assert (found["num_beams"], found["max_length"], found["prefix"]) == (2, 200, "summarize: ")
    assert "vocab_size" not in found


@pytest.mark.parametrize(("limit", "expected"), [(64, 64), (None, DEFAULT_LENGTH)])
def test_without_any_length_the_models_limit_is_taken(limit: int | None, expected: int) -> None:
    nothing = defaults_of(base_of(GenerationConfig()), {})
    assert settings_of(nothing, {}, limit, BARE).max_length == expected


def test_equal_settings_are_one_group() -> None:
    one = settings({}, {"num_beams": 2, "length_penalty": 1.0}, 512)
    other = settings({"length_penalty": 1.0}, {"num_beams": 2}, 512)
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("row", "forced", "expected"),
    [
        ([2, 5, 6, 2, 1, 1], None, Generated([5, 6], False)),  # the start token is the end token (BART)
        ([0, 5, 6, 7, 8, 9], None, Generated([5, 6, 7, 8, 9], True)),
        ([2, 0, 5, 6, 7, 2], 2, Generated([0, 5, 6, 7], True)),  # an end that was forced at the limit
        ([2, 0, 5, 2, 1, 1], 2, Generated([0, 5], False)),
        ([0, 5, 6, 7, 8, 2], None, Generated([5, 6, 7, 8], False)),
        ([0, 2], None, Generated([], False)),
    ],
)
def test_finished(row: list[int], forced: int | None, expected: Generated) -> None:
    config = GenerationConfig(max_length=6, eos_token_id=2, pad_token_id=1, forced_eos_token_id=forced)
    assert finished(row, config) == expected
