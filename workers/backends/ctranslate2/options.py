"""Generation settings in CTranslate2's terms, and which of them it does not answer as transformers does.

It searches by nearly the rules of `generate()`. Where they part was found by reading both (CTranslate2's
`src/decoding.cc`, transformers' `generation/utils.py` and `logits_process.py`):

- Beams. What may not be said (repeated n-grams, an end before the minimum, bad words) it takes out before the
  probabilities are normalized, transformers after, unless `renormalize_logits` is set. It stops when as many texts
  have ended as there are beams (`early_stopping=True`), and at the limit it forces no end. After a forced first token
  it lets no second beam end.
- The start token is not part of what it holds against repetition, and of several beams it penalizes the scores before
  they are normalized: with a repetition_penalty nothing would be alike, so that is never left to it.

One beam, or several without any of these, are the same token by token: `tests/unit/backends/` compares all of them.
"""

from collections.abc import Sequence
from typing import Any

from transformers import GenerationConfig

from textmill.tasks import generation

_NEUTRAL = {"num_return_sequences": 1, "do_sample": False, "use_cache": True, "return_dict_in_generate": False}
"""Settings that `generate()` may be given, with the value that asks for nothing."""

_UNDERSTOOD = {
    *generation.OPTIONS,
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "bad_words_ids",
    "renormalize_logits",
    "_from_model_config",
    "transformers_version",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "output_logits",
}


def unknown(config: GenerationConfig) -> str | None:
    """A setting of a checkpoint that CTranslate2 does not know; None: it knows all."""
    # Files may have fields that transformers does not know either, and passes over.
    neutral = {**GenerationConfig().to_dict(), **_NEUTRAL}  # type: ignore[no-untyped-call]
    for name, value in config.to_dict().items():
        if name in neutral and name not in _UNDERSTOOD and value not in (None, neutral[name]):
            return f"it does not know {name}"
    return None


def foreign(config: GenerationConfig) -> str | None:
    """What the settings of an encoder-decoder's checkpoint ask for that CTranslate2 does not know; None: nothing."""
    if (reason := unknown(config)) is not None:
        return reason
    if start(config) is None:
        return "the checkpoint does not say with what decoding starts"
    if len(ends(config)) != 1:
        return "it knows models with one end token"
    if any(len(word) != 1 for word in config.bad_words_ids or []):
        return "it does not know bad words of several tokens"
    return None


def beyond(config: GenerationConfig) -> str | None:
    """Why CTranslate2 cannot search by these settings; None: it can."""
    if config.num_beams > 1 and config.early_stopping == "never":
        return 'it does not know early_stopping "never"'
    penalized = config.repetition_penalty not in (None, 1.0)
    if penalized and (config.num_beams > 1 or start(config) not in suppressed(config)):
        return "its repetition_penalty is another one"
    if _longest(config) < len(prefix(config)):
        return "max_length leaves no room for the tokens that are forced"
    return foreign(config)


def unlike(config: GenerationConfig, is_faithful: bool = False) -> str | None:
    """Why CTranslate2 may answer otherwise than `generate()` by these settings; None: it does not. is_faithful: only
    some words may be said."""
    silent = set(suppressed(config))
    ngrams = config.no_repeat_ngram_size or 0
    if (ngrams == 1 and start(config) not in silent) or (ngrams and start(config) not in silent | {end(config)}):
        return "no_repeat_ngram_size does not see the start token"
    if config.num_beams == 1:
        return None
    if config.early_stopping is not True:
        return "several beams end as with early_stopping true"
    if config.forced_bos_token_id is not None or config.forced_eos_token_id is not None:
        return "several beams treat forced tokens otherwise"
    if (ngrams or (config.min_length or 0) > 1 or silent or is_faithful) and not config.renormalize_logits:
        return "several beams share out the probability of what may not be said (renormalize_logits)"
    return None


def search(config: GenerationConfig) -> dict[str, Any]:
    """Arguments of `translate_batch`. Lengths there count the first token after the start as the first."""
    longest = max(_longest(config), 1)
    return {
        "beam_size": config.num_beams,
        "length_penalty": 1.0 if config.length_penalty is None else config.length_penalty,
        "repetition_penalty": config.repetition_penalty or 1.0,
        "no_repeat_ngram_size": config.no_repeat_ngram_size or 0,
        "suppress_sequences": [[str(token)] for token in suppressed(config)],
        "min_decoding_length": min(max((config.min_length or 0) - 1, 0), longest),
        "max_decoding_length": longest,
        "max_input_length": 0,  # never cut: what is too long for the model does not come here
        "end_token": [end(config)],
        "return_end_token": True,
    }


def start(config: GenerationConfig) -> int | None:
    """The token that decoding starts with."""
    chosen = config.decoder_start_token_id
    found: int | None = config.bos_token_id if chosen is None else chosen
    return found


def ends(config: GenerationConfig) -> list[int]:
    """The tokens that end a text."""
    found = config.eos_token_id
    return list(found) if isinstance(found, list) else [] if found is None else [found]


def end(config: GenerationConfig) -> int:
    """The only one."""
    return ends(config)[0]


def prefix(config: GenerationConfig) -> list[int]:
    """What every text begins with, after the start."""
    return [] if config.forced_bos_token_id is None else [config.forced_bos_token_id]


def suppressed(config: GenerationConfig) -> Sequence[int]:
    """Tokens that are never said. The end among the bad words counts for nothing, as in transformers."""
    return [word[0] for word in config.bad_words_ids or [] if word != [end(config)]]


def _longest(config: GenerationConfig) -> int:
    # An end that is forced takes the last place: the text ends one before it.
    return int(config.max_length) - 1 - (config.forced_eos_token_id is not None)
