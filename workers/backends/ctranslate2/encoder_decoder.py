"""Generation by `ctranslate2.Translator`."""

import functools
from collections.abc import Sequence
from typing import Any

import ctranslate2

from workers.backends.ctranslate2 import options
from workers.backends.ctranslate2.faithful import mended
from workers.backends.ctranslate2.weights import Converted
from workers.checkpoint import generation
from workers.checkpoint.files import EncoderDecoderFiles
from workers.kinds import Generated, GenerationSettings, Kind, ModelSpec, NotOffered


class CTranslate2EncoderDecoder(EncoderDecoderFiles):
    """One encoder-decoder model on one device. Making it converts the checkpoint where that was not done before.

    Raises NotOffered for a model that CTranslate2 cannot run, and ModelUnavailable.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        if (reason := options.foreign(self._base)) is not None:
            raise NotOffered(reason)
        self._only_alike = spec.backend == "auto"
        """Whoever names the backend wants its answers where they are not transformers' to the letter, too."""
        self._converted = Converted(self._checkpoint, self._config, Kind.GENERATION, spec)
        self.dtype = self._converted.dtype
        self._names: list[str] = []

    def check(self, settings: GenerationSettings) -> None:
        """Raises NotOffered where it cannot search by the settings, or where its answers might be others than
        transformers' and it was not asked for by name."""
        config = generation.applied(self._base, settings)
        is_faithful = settings.faithful is not None
        reason = options.beyond(config) or (options.unlike(config, is_faithful) if self._only_alike else None)
        if reason is not None:
            raise NotOffered(reason)
        self.prepare(settings)

    def load(self) -> None:
        """Raises ModelUnavailable."""
        self._converted.load(ctranslate2.Translator)
        # Tokens are called by their numbers (`specs.py`). Looked up, since a batch has tens of thousands.
        self._names = [str(token) for token in range(self._config.vocab_size)]

    def unload(self) -> None:
        """Give the memory back."""
        self._converted.unload()

    def memory_bytes(self) -> int:
        """Of the weights."""
        return self._converted.memory_bytes()

    def generate(self, rows: Sequence[Sequence[int]], settings: GenerationSettings) -> list[Generated]:
        """One generation for all rows, sorted and thinned out by CTranslate2 itself."""
        translator, names = self._converted.model, self._names
        config = generation.applied(self._base, settings)
        start = options.start(config)
        assert start is not None  # `foreign` has seen to it
        first = [str(token) for token in (start, *options.prefix(config))]
        wordings = self.wordings(rows, settings)
        arguments = options.search(config) | ({"num_hypotheses": config.num_beams} if wordings else {})

        def search(rows: Sequence[Sequence[int]], **changed: Any) -> list[list[Generated]]:
            """Each row's answers, best first."""
            named = [[names[token] for token in row] for row in rows]
            results = translator.translate_batch(named, [first] * len(rows), **(arguments | changed))
            return [
                [generation.finished([start, *map(int, tokens)], config) for tokens in result.hypotheses]
                for result in results
            ]

        answers = search(rows)
        if not wordings:
            return [best for best, *_ in answers]

        def again(row: Sequence[int], forbidden: Sequence[Sequence[int]]) -> list[Generated]:
            silent = [*arguments["suppress_sequences"], *([names[token] for token in each] for each in forbidden)]
            shortest = max(arguments["min_decoding_length"], 1)
            [found] = search([row], suppress_sequences=silent, min_decoding_length=shortest)
            return found

        return [
            mended(found, wording, options.end(config), len(names), functools.partial(again, row))
            for found, wording, row in zip(answers, wordings, rows, strict=True)
        ]
