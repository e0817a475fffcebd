"""Generation settings: the request's over the catalogue's over the checkpoint's."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import GenerationConfig

OPTIONS = (
    "min_length",
    "max_length",
    "max_new_tokens",
    "num_beams",
    "length_penalty",
    "no_repeat_ngram_size",
    "repetition_penalty",
    "early_stopping",
)
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


@dataclass(frozen=True, slots=True)
class Generated:
    """What the model made of one item."""

    ids: list[int]
    """Tokens, without the start and the end."""
    hit_limit: bool
    """Whether it ended at the length limit and not by itself."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the items of one batch agree on (an item's `group`). What it leaves out is the checkpoint's.

    Lengths are in tokens of the decoder and count its start token, as in transformers.
    """

    max_length: int
    min_length: int
    num_beams: int
    others: tuple[tuple[str, Any], ...] = ()
    """The rest, by name: penalties, `early_stopping`, and the target language's tokens."""

    def with_lengths(self, min_length: int, max_length: int) -> "Settings":
        """The same with other lengths."""
        return replace(self, min_length=min_length, max_length=max_length)

    def apply(self, base: GenerationConfig) -> GenerationConfig:
        """The checkpoint's configuration with these settings over it."""
        config = copy.deepcopy(base)
        config.max_new_tokens = None
        config.max_length, config.min_length, config.num_beams = self.max_length, self.min_length, self.num_beams
        for name, value in self.others:
            setattr(config, name, value)
        return config


def base_of(checkpoint: GenerationConfig, task_parameters: Mapping[str, Any]) -> GenerationConfig:
    """The checkpoint's own settings, with those that its configuration has for the task (T5, BART) over them.

    Sampling is switched off: results must be repeatable.
    """
    base = copy.deepcopy(checkpoint)
    known = {name: value for name, value in task_parameters.items() if name in OPTIONS}
    for name, value in _lay_over({}, known).items():
        setattr(base, name, value)
    base.do_sample, base.num_return_sequences, base.return_dict_in_generate = False, 1, False
    for name in _SAMPLING:
        setattr(base, name, None)
    return base


def settings(
    base: GenerationConfig,
    defaults: Mapping[str, Any],
    options: Mapping[str, Any],
    limit: int | None,
    language: tuple[tuple[str, int], ...] = (),
) -> Settings:
    """One set of settings out of three layers. limit: the most that the model may generate, start token included.

    Where a layer sets `max_length` it also overrides a lower layer's `max_new_tokens`, and the reverse. A `min_length`
    of a lower layer that does not fit under the maximum asked for becomes half of that.
    """
    merged = _lay_over(_lay_over({}, defaults), options)
    if "max_new_tokens" in merged:
        longest = merged.pop("max_new_tokens") + 1
    elif "max_length" in merged:
        longest = merged.pop("max_length")
    elif base.max_new_tokens is not None:
        longest = base.max_new_tokens + 1
    else:
        longest = base.max_length or limit or 512
    longest = max(2, min(longest, limit or longest))
    shortest = merged.pop("min_length", base.min_length) or 0
    if shortest >= longest:
        shortest = longest // 2
    beams = merged.pop("num_beams", base.num_beams) or 1
    return Settings(longest, shortest, beams, (*sorted(merged.items()), *language))


def _lay_over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: upper[name] for name in OPTIONS if upper.get(name) is not None}
    kept = dict(lower)
    if "max_length" in given or "max_new_tokens" in given:
        kept.pop("max_length", None)
        kept.pop("max_new_tokens", None)
    return kept | given


def finished(row: Sequence[int], config: GenerationConfig) -> Generated:
    """One row of `generate`'s answer, (decoder start, tokens, end, padding): its tokens, and whether it was cut."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    ids = list(row[1:])
    length = next((i for i, token in enumerate(ids) if token in ends), None)
    if length is None:
        return Generated(ids, hit_limit=True)
    # A forced end (BART) says nothing: what stands right at the limit was cut.
    forced = config.forced_eos_token_id is not None and length + 2 >= (config.max_length or 0)
    return Generated(ids[:length], hit_limit=forced)
