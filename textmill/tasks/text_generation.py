"""Text generation: a text is gone on with, or a conversation, by a decoder."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from textmill.base import Request, Wire
from textmill.errors import InvalidDocument, InvalidOptions
from textmill.tasks.generation import SearchOptions
from textmill.tasks.task import Candidate, DocumentFields, Offered, Task

MAX_MESSAGES = 1_000
"""Of one document."""


class TextGenerationOptions(SearchOptions):
    """Options of a text-generation job."""

    min_new_tokens: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Tokens that are generated at least."""
    max_new_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Tokens that are generated at most. For encoder-decoders: `max_length` without the start token: `n` means a
    `max_length` of `n + 1`, and holds where both are given. For decoders: beside the text, which has to fit into the
    window together with them; 128 where nothing is said."""

    do_sample: bool | None = None
    """Tokens are drawn by their probabilities; needs a `seed`. Else each is the likeliest, or a beam's."""
    seed: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    """With it the same text, model and options give the same again, in any batch; with another, something else."""
    temperature: Annotated[float, Field(gt=0, le=100, strict=False)] | None = None
    """Of the probabilities that are drawn by: below 1 the likely ones become likelier."""
    top_k: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """Drawn from so many of the likeliest tokens."""
    top_p: Annotated[float, Field(gt=0, le=1, strict=False)] | None = None
    """Drawn from the likeliest tokens that come to this share together."""


DRAWING = ("seed", "temperature", "top_k", "top_p")
"""What means something only where tokens are drawn."""


class Message(Request):
    """What one side of a conversation has said."""

    role: Literal["system", "user", "assistant"]
    content: str


class Conversation(DocumentFields):
    """A document may be a conversation in the place of a text, where the model's tokenizer has a chat template."""

    instead_of_text: ClassVar[frozenset[str]] = frozenset({"messages"})

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)] | None = None
    """What was said so far, in order; what is generated is what the assistant says next."""


class TextGenerationOutput(Wire):
    """What a document was gone on with: the new text alone."""

    generated_text: str


class TextGenerationTask(Task):
    """What is generated shares the window with the text."""

    def check(self, model: Offered, options: Mapping[str, Any]) -> None:
        """Refuses lengths that leave no room for a text, and a minimum above the maximum."""
        for name in ("min_new_tokens", "max_new_tokens"):
            if options.get(name, 0) >= model.window:
                message = (
                    f"{name} is {options[name]}; the model {model.name} has a window of {model.window} tokens, "
                    f"for the text and what is generated"
                )
                raise InvalidOptions(message, option=name, maximum=model.window - 1)
        draws = options.get("do_sample", False)
        if not draws and (vain := [name for name in DRAWING if name in options]):
            raise InvalidOptions(f"{', '.join(vain)}: without do_sample nothing is drawn", option=vain[0])
        if draws and options.get("num_beams", 1) > 1:
            raise InvalidOptions("do_sample and num_beams: a beam search draws nothing", option="num_beams")
        shortest, longest = options.get("min_new_tokens", 0), options.get("max_new_tokens")
        if longest is not None and shortest > longest:
            raise InvalidOptions(
                f"min_new_tokens {shortest} is above max_new_tokens {longest}", option="min_new_tokens"
            )

    def canonical(self, model: Offered, options: Mapping[str, Any]) -> dict[str, Any]:
        """What is drawn can be drawn again."""
        merged = super().canonical(model, options)
        if merged.get("do_sample") and "seed" not in merged:
            message = "do_sample needs a seed: results must be repeatable"
            raise InvalidOptions(message, option="seed", missing=["seed"])
        return merged

    def check_fields(
        self, fields: Mapping[str, Any], options: Mapping[str, Any], model: Candidate | None = None
    ) -> None:
        """Refuses a conversation that the model is known to make no text of."""
        super().check_fields(fields, options, model)
        if "messages" in fields and model is not None and model.chat_template is False:
            message = f"messages: the tokenizer of {model.name} has no chat template; give it a text"
            raise InvalidDocument(message, field="messages", valid=["text"])

    def shown(self, output: Mapping[str, Any]) -> str:
        """The text."""
        return str(output["generated_text"])


TASK = TextGenerationTask(
    name="text-generation",
    title="A text is gone on with, or a conversation.",
    options=TextGenerationOptions,
    output=TextGenerationOutput,
    architectures=("ForCausalLM", "LMHeadModel"),
    fields=Conversation,
)
