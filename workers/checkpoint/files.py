"""What a checkpoint's files say of a model of each kind, whatever runs it: the models of the backends begin with it."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from textmill.errors import ModelUnavailable
from workers.checkpoint import generation, pooling
from workers.checkpoint.checkpoint import Checkpoint, positions, window
from workers.checkpoint.codec import TokenizerCodec
from workers.checkpoint.wording import Pieces, Wording
from workers.kinds import GenerationSettings, ModelSpec


class CheckpointFiles:
    """Configuration and tokenizer, read. Raises ModelUnavailable."""

    def __init__(self, spec: ModelSpec) -> None:
        self._name = spec.name
        self._checkpoint = Checkpoint(spec.source, spec.revision)
        self._config: Any = self._checkpoint.config()
        self._tokenizer: Any = self._checkpoint.tokenizer()
        self.codec = TokenizerCodec(self._tokenizer, self._config)
        self.window = window(self._config, self._tokenizer, spec.window)
        self.revision = self._checkpoint.digest()


class EncoderDecoderFiles(CheckpointFiles):
    """Of a model that generates text: its generation settings besides."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.limit = min((n for n in (spec.window, positions(self._config)) if n), default=None)
        self._base = generation.base_of(self._checkpoint.generation_config(self._config))

    def defaults(self, preset: str) -> Mapping[str, Any]:
        """The options that the checkpoint's files set, those that its configuration has for the preset (T5, BART) over
        those of its generation settings; and its `prefix`."""
        presets: Mapping[str, Any] = getattr(self._config, "task_specific_params", None) or {}
        return generation.defaults_of(self._base, presets.get(preset, {}))

    def prepare(self, settings: GenerationSettings) -> None:
        """Make what these settings need and the engine's thread should not wait for."""
        if settings.faithful is not None:
            _ = self._pieces

    def wordings(self, rows: Sequence[Sequence[int]], settings: GenerationSettings) -> list[Wording]:
        """What may be said of each row's text; empty where that is anything."""
        if settings.faithful is None:
            return []
        return [Wording(self._pieces, self.codec.read(row[settings.faithful :])) for row in rows]

    @cached_property
    def _pieces(self) -> Pieces:
        ends = self._base.eos_token_id
        # A tokenizer may have more tokens than its model can say.
        surfaces = self.codec.surfaces()[: getattr(self._config, "vocab_size", None)]
        return Pieces(surfaces, ends if isinstance(ends, list) else [] if ends is None else [ends])


class EncoderFiles(CheckpointFiles):
    """Of a model of one forward pass: what pads a batch of it, and what its outputs are called."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        pad = self._config.pad_token_id if self._tokenizer.pad_token_id is None else self._tokenizer.pad_token_id
        self._pad: int = pad or 0

    @property
    def names(self) -> list[str]:
        """The configuration's labels, by index."""
        found = {int(index): str(label) for index, label in self._config.id2label.items()}
        return [found[index] for index in range(len(found))]


class TokenClassifierFiles(EncoderFiles):
    """Of a model that labels tokens: its labels besides."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.labels = self.names


class SequenceClassifierFiles(EncoderFiles):
    """Of a model that labels texts: its labels, and what makes scores of their logits."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.labels = self.names
        self.function = _function(getattr(self._config, "problem_type", None), len(self.labels))


class MaskFillerFiles(EncoderFiles):
    """Of a masked language model: its mask. Raises ModelUnavailable where it has none."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        if self.codec.mask is None:
            raise ModelUnavailable(f"the tokenizer of {spec.source} has no mask token")
        self.mask = self.codec.mask[1]


class EmbedderFiles(EncoderFiles):
    """Of a model whose hidden states are pooled: how, and how many numbers they have."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self.embedding, longest = pooling.of(self._checkpoint)
        self.window = min(self.window, longest or self.window)
        self.size = int(self._config.hidden_size)


class DecoderFiles(EncoderFiles):
    """Of a model that goes on with a text: its generation settings."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._base = generation.base_of(self._checkpoint.generation_config(self._config))

    def defaults(self) -> Mapping[str, Any]:
        """The options that the checkpoint's files set."""
        return generation.defaults_of(self._base, {})


def _function(problem: str | None, labels: int) -> Literal["softmax", "sigmoid", "none"]:
    """As transformers' pipeline chooses."""
    if problem == "regression":
        return "none"
    return "sigmoid" if problem == "multi_label_classification" or labels == 1 else "softmax"
