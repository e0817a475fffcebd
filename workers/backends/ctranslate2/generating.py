"""What models that generate text have in common: a conversion, the settings that it answers, the names of tokens."""

from typing import Any, ClassVar, Protocol

from transformers import GenerationConfig

from workers.backends.ctranslate2.weights import Converted
from workers.checkpoint import generation
from workers.checkpoint.files import CheckpointFiles
from workers.kinds import GenerationSettings, Kind, ModelSpec, NotOffered


class Rules(Protocol):
    """Why a checkpoint, or settings over its own, are left to the backend's stand-in: a module of these, by kind."""

    def foreign(self, config: GenerationConfig, /) -> str | None:
        """The checkpoint has settings that CTranslate2 does not know."""

    def beyond(self, config: GenerationConfig, /) -> str | None:
        """It cannot search by these."""

    def unlike(self, config: GenerationConfig, /) -> str | None:
        """It may answer otherwise than transformers."""


class CTranslate2Generating(CheckpointFiles):
    """One model on one device, in front of the class that reads its files. Making it converts the checkpoint where that
    was not done before.

    Raises NotOffered for a model that CTranslate2 cannot run, and ModelUnavailable.
    """

    kind: ClassVar[Kind]
    rules: ClassVar[Rules]
    runs: ClassVar[Any]
    """The class of CTranslate2 that runs it."""

    _base: GenerationConfig

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        if (reason := self.rules.foreign(self._base)) is not None:
            raise NotOffered(reason)
        self._only_alike = spec.backend == "auto"
        """Whoever names the backend wants its answers where they are not transformers' to the letter, too."""
        self._converted = Converted(self._checkpoint, self._config, self.kind, spec)
        self.dtype = self._converted.dtype
        self._names: list[str] = []

    def check(self, settings: GenerationSettings) -> None:
        """Raises NotOffered where it cannot search by the settings, or where its answers might be others than
        transformers' and it was not asked for by name."""
        config = generation.applied(self._base, settings)
        reason = self.rules.beyond(config) or (self._unlike(config, settings) if self._only_alike else None)
        if reason is not None:
            raise NotOffered(reason)

    def _unlike(self, config: GenerationConfig, settings: GenerationSettings) -> str | None:
        return self.rules.unlike(config)

    def load(self) -> None:
        """Raises ModelUnavailable."""
        self._converted.load(self.runs)
        # Tokens are called by their numbers (`specs.py`). Looked up, since a batch has tens of thousands.
        self._names = [str(token) for token in range(self._config.vocab_size)]

    def unload(self) -> None:
        """Give the memory back."""
        self._converted.unload()

    def memory_bytes(self) -> int:
        """Of the weights."""
        return self._converted.memory_bytes()
