"""Generation settings in transformers' terms: what a checkpoint says, and what a batch wants laid over it.

`GenerationConfig` ends here: rules and plans know `workers.kinds.GenerationSettings`.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import GenerationConfig

from textmill.tasks import generation
from workers.kinds import Generated, GenerationSettings

_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def base_of(checkpoint: GenerationConfig) -> GenerationConfig:
    """The checkpoint's own settings, one answer for each text. Sampling is switched off: results must be repeatable."""
    base = copy.deepcopy(checkpoint)
    base.do_sample, base.num_return_sequences, base.return_dict_in_generate = False, 1, False
    for name in _SAMPLING:
        setattr(base, name, None)
    return base


def defaults_of(base: GenerationConfig, preset: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the checkpoint sets, those of a preset over the general ones, and the preset's `prefix`."""
    general = {name: value for name in generation.OPTIONS if (value := getattr(base, name, None)) is not None}
    special = {name: value for name, value in preset.items() if name in generation.OPTIONS}
    defaults = generation.lay_over(general, special)
    return defaults | ({"prefix": preset["prefix"]} if preset.get("prefix") else {})


def applied(base: GenerationConfig, settings: GenerationSettings) -> GenerationConfig:
    """The checkpoint's configuration with a batch's settings over it."""
    config = copy.deepcopy(base)
    config.max_new_tokens = None
    for name in generation.OPTIONS:
        if name != "max_new_tokens":
            setattr(config, name, getattr(settings, name))
    for name in ("forced_bos_token_id", "decoder_start_token_id"):
        if (token := getattr(settings, name)) is not None:
            setattr(config, name, token)
    return config


def finished(row: Sequence[int], config: GenerationConfig, before: int = 1) -> Generated:
    """One row of `generate`'s answer, (decoder start, tokens, end, padding): its tokens, and whether it was cut.

    before: how many tokens stand before those that were generated.
    """
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    ids = list(row[before:])
    length = next((i for i, token in enumerate(ids) if token in ends), None)
    if length is None:
        return Generated(ids, hit_limit=True)
    # A forced end (BART) says nothing: what stands right at the limit was cut.
    forced = config.forced_eos_token_id is not None and length + before + 1 >= (config.max_length or 0)
    return Generated(ids[:length], hit_limit=forced)
