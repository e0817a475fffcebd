"""What the tasks share whose models generate text: their options, and how lengths are laid over each other."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from textmill.errors import InvalidOptions
from textmill.tasks.task import Offered, Task, TaskOptions

LENGTHS = ("min_length", "max_length", "max_new_tokens")


class SearchOptions(TaskOptions):
    """Options of transformers' generation, with its names, that say nothing of lengths. Sampling is not offered:
    results must be repeatable."""

    num_beams: Annotated[int, Field(ge=1, le=32)] | None = None
    """Beams of the search; 1 is greedy."""
    length_penalty: Annotated[float, Field(ge=-10, le=10, strict=False)] | None = None
    """Exponent of the length by which a beam's score is divided: above 0 favours longer texts."""
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=100)] | None = None
    """No sequence of so many tokens comes twice; 0: any may."""
    repetition_penalty: Annotated[float, Field(gt=0, le=10, strict=False)] | None = None
    """Above 1 makes tokens that were generated before less likely."""
    early_stopping: bool | Literal["never"] | None = None
    """A beam search ends with as many finished texts as beams (`true`), by a heuristic (`false`), or once no better
    text is possible (`"never"`)."""


class GenerationOptions(SearchOptions):
    """The same with the lengths of an encoder-decoder's text."""

    min_length: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Tokens that are generated at least, counted as in `max_length`."""
    max_length: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Tokens of the decoder at most, its start token included."""
    max_new_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Tokens that are generated at most. For encoder-decoders: `max_length` without the start token: `n` means a
    `max_length` of `n + 1`, and holds where both are given. For decoders: beside the text, which has to fit into the
    window together with them; 128 where nothing is said."""


OPTIONS = tuple(name for name in GenerationOptions.model_fields if name not in TaskOptions.model_fields)
"""The names that say how text is generated."""


def decoder_length(options: Mapping[str, Any]) -> int | None:
    """The most tokens that the decoder may hold, its start included; None where the options set no maximum."""
    if (new := options.get("max_new_tokens")) is not None:
        return int(new) + 1
    longest = options.get("max_length")
    return None if longest is None else int(longest)


def lay_over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """One layer of generation options over another. The result sets at most one maximum; None counts as not given.

    A maximum of the upper layer, under either name, replaces that of the lower one under both names. A `min_length` of
    the lower layer that does not fit under it becomes half of it: whoever asks for a shorter text than the model's
    default minimum cannot be expected to know that there is one. Of two maxima in one layer, `max_new_tokens` holds, as
    in transformers. Contradictions inside one layer, and a minimum laid over a smaller maximum, are left as they are.
    """
    given, kept = _single(upper), _single(lower)
    longest = decoder_length(given)
    if longest is not None:
        kept.pop("max_length", None)
        kept.pop("max_new_tokens", None)
        if kept.get("min_length", 0) >= longest:
            kept["min_length"] = longest // 2
    return kept | given


def _single(layer: Mapping[str, Any]) -> dict[str, Any]:
    """What the layer gives, with one maximum."""
    given = {name: value for name, value in layer.items() if value is not None}
    if "max_new_tokens" in given:
        given.pop("max_length", None)
    return given


class GenerationTask(Task):
    """A task whose models generate text."""

    def lay_over(self, lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
        """As `lay_over` of this module."""
        return lay_over(lower, upper)

    def check(self, model: Offered, options: Mapping[str, Any]) -> None:
        """Refuses lengths beyond the window, and a minimum above the maximum."""
        for name in LENGTHS:
            if options.get(name, 0) > model.window:
                raise InvalidOptions(
                    f"{name} is {options[name]}; the model {model.name} takes and gives at most {model.window} tokens",
                    option=name,
                    maximum=model.window,
                )
        shortest, longest = options.get("min_length", 0), decoder_length(options)
        if longest is not None and shortest > longest:
            upper = "max_new_tokens" if "max_new_tokens" in options else "max_length"
            raise InvalidOptions(f"min_length {shortest} is above {upper} {options[upper]}", option="min_length")
