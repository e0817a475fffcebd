"""Decoders' generation settings in CTranslate2's terms, and which of them it does not answer as `generate()` does.

One beam is the same token by token, and so are several that end as with `early_stopping` true. What holds against
repetition sees the text in transformers and only what was generated here: that is never left to it. Beams part as those
of encoder-decoders do (`options.py`).
"""

from collections.abc import Sequence
from typing import Any

from transformers import GenerationConfig

from workers.backends.ctranslate2 import options

SPREAD = 16
"""Tokens by which texts of one call may differ. It reads what they have in common at once, and what a longer one has
beyond that token by token, while the shorter ones are gone on with: each costs all of them a step."""


def foreign(config: GenerationConfig) -> str | None:
    """What a checkpoint's settings ask for that it does not know; None: nothing."""
    if (reason := options.unknown(config)) is not None:
        return reason
    if not options.ends(config):
        return "the checkpoint does not say what ends a text"
    for name in ("forced_bos_token_id", "forced_eos_token_id", "bad_words_ids"):
        if getattr(config, name, None):
            return f"it does not know {name} of decoders"
    return None


def beyond(config: GenerationConfig) -> str | None:
    """Why it cannot search by these settings; None: it can."""
    if config.no_repeat_ngram_size or config.repetition_penalty not in (None, 1.0):
        return "what it holds against repetition does not see the text"
    if config.num_beams == 1:
        return None
    if config.early_stopping == "never":
        return 'it does not know early_stopping "never"'
    return "several beams know one end token" if len(options.ends(config)) > 1 else None


def unlike(config: GenerationConfig) -> str | None:
    """Why it may answer otherwise than `generate()` by these settings; None: it does not."""
    if config.num_beams == 1:
        return None
    if config.early_stopping is not True:
        return "several beams end as with early_stopping true"
    if (config.min_length or 0) > 1 and not config.renormalize_logits:
        return "several beams share out the probability of an end that may not be yet (renormalize_logits)"
    return None


def spread(config: GenerationConfig) -> int:
    """Tokens by which texts of one call may differ, by these settings."""
    return SPREAD if config.num_beams == 1 and (config.min_length or 0) <= 1 else 0


def groups(rows: Sequence[Sequence[int]], config: GenerationConfig) -> list[list[int]]:
    """The rows, by their places, that go into one call each.

    Rows of one length, unless there is one beam and no minimum: of several beams a minimum is not kept to where lengths
    differ. A row of a single token has none that could be read ahead, and what longer ones have beyond it would come
    back as generated.
    """
    most = spread(config)
    found: list[list[int]] = []
    for place in sorted(range(len(rows)), key=lambda place: len(rows[place])):
        shortest = len(rows[found[-1][0]]) if found else 0
        if found and len(rows[place]) - shortest <= (most if shortest > 1 else 0):
            found[-1].append(place)
        else:
            found.append([place])
    return found


def search(config: GenerationConfig) -> dict[str, Any]:
    """Arguments of `generate_batch`. Lengths there count what is generated; ours count one token before."""
    longest = int(config.max_length) - 1
    return {
        "beam_size": config.num_beams,
        "length_penalty": 1.0 if config.length_penalty is None else config.length_penalty,
        "min_length": min(max((config.min_length or 0) - 1, 0), longest),
        "max_length": longest,
        "end_token": options.ends(config),
        "return_end_token": True,
        "include_prompt_in_result": False,
    }
