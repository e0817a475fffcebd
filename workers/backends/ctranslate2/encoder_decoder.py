"""Generation by `ctranslate2.Translator`."""

import functools
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import ctranslate2
from transformers import GenerationConfig

from workers.backends.ctranslate2 import options
from workers.backends.ctranslate2.faithful import mended, until
from workers.backends.ctranslate2.generating import CTranslate2Generating, Rules
from workers.checkpoint import generation
from workers.checkpoint.files import EncoderDecoderFiles
from workers.kinds import Generated, GenerationSettings, Kind


class CTranslate2EncoderDecoder(CTranslate2Generating, EncoderDecoderFiles):
    """One encoder-decoder model on one device."""

    kind = Kind.GENERATION
    rules: ClassVar[Rules] = options
    runs = ctranslate2.Translator

    @functools.cached_property
    def _alone(self) -> list[list[str]]:
        """Each token's name as a sequence of its own. Made once: thousands of lists keep Python's collector busy."""
        return [[name] for name in self._names]

    def check(self, settings: GenerationSettings) -> None:
        """What it is to be faithful to is prepared, too."""
        super().check(settings)
        self.prepare(settings)

    def _unlike(self, config: GenerationConfig, settings: GenerationSettings) -> str | None:
        return options.unlike(config, settings.faithful is not None)

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

        started = time.monotonic()
        answers = search(rows)
        if not wordings:
            return [best for best, *_ in answers]

        def again(row: Sequence[int], single: Sequence[int], several: Sequence[Sequence[int]]) -> list[Generated]:
            silent = [*arguments["suppress_sequences"], *map(self._alone.__getitem__, single)]
            silent += [[names[token] for token in each] for each in several]
            shortest = max(arguments["min_decoding_length"], 1)
            [found] = search([row], suppress_sequences=silent, min_decoding_length=shortest)
            return found

        latest = until(started)
        return [
            mended(found, wording, options.end(config), len(names), functools.partial(again, row), latest)
            for found, wording, row in zip(answers, wordings, rows, strict=True)
        ]
