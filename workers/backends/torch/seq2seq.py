"""Summarization and translation by any `AutoModelForSeq2SeqLM`.

The two tasks differ in how a document becomes items and comes back (`translation.py`, `summarization.py`); tokenizing,
generation settings and the run are the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from transformers import AutoModelForSeq2SeqLM, GenerationConfig

from workers import metrics
from workers.backends.torch import device as devices
from workers.backends.torch import generation, loading, search
from workers.backends.torch.generation import Generated
from workers.checkpoint.codec import Codec, Pair
from workers.runner import Item, Outcome, Prepared
from workers.tasks import summarization, translation
from workers.tasks.route import Route
from workers.text import languages

CANARY = "The committee met in Berlin on Monday and decided to build a new bridge over the river before next summer."
USUAL_SENTENCES = {"summarization": 6, "translation": 1}
"""In an item: documents are summarized as a whole, and translated sentence by sentence."""
RULES = {"summarization": summarization, "translation": translation}


class Seq2SeqRunner:
    """One summarization or translation model on one device.

    source: a folder or a hub id; revision: the hub's commit. defaults: the catalogue's options. window: tokens that the
    model takes, special ones included, and the most that it may generate; None: the model's own. source_langs,
    target_langs: the catalogue's; an only one need not be named in a request. lang_codes: the tokenizer's names for
    them. prefix: text put before each input (T5); None: what the checkpoint's configuration has for the task.
    """

    def __init__(
        self,
        name: str,
        task: Literal["summarization", "translation"],
        source: str,
        revision: str | None = None,
        defaults: Mapping[str, Any] | None = None,
        dtype: devices.Precision = "auto",
        window: int | None = None,
        device: str | torch.device = "auto",
        source_langs: Sequence[str] = (),
        target_langs: Sequence[str] = (),
        lang_codes: Mapping[str, str] | None = None,
        prefix: str | None = None,
    ) -> None:
        self.name = name
        self.task = task
        self.revision = revision or ""
        self._rule: Any = RULES[task]
        self._checkpoint = loading.Checkpoint(source, revision)
        self._defaults = dict(defaults or {})
        self._wanted_window = window
        self._source_langs, self._target_langs = tuple(source_langs), tuple(target_langs)
        self._lang_codes = dict(lang_codes or {})
        self._prefix = prefix
        self._routes: dict[Pair, Route] = {}
        place = device if isinstance(device, torch.device) else devices.choose(device)
        self._resident = loading.Resident(self._checkpoint, AutoModelForSeq2SeqLM, place, dtype)

    def open(self) -> None:
        """Read configuration, tokenizer and generation settings. Raises ModelUnavailable."""
        self._config, tokenizer = self._checkpoint.config(), self._checkpoint.tokenizer()
        self._codec = Codec(tokenizer, self._config, self._lang_codes)
        self._pad = tokenizer.pad_token_id if self._config.pad_token_id is None else self._config.pad_token_id
        self._window = loading.window(self._config, tokenizer, self._wanted_window)
        self._limit = min((n for n in (self._wanted_window, loading.positions(self._config)) if n), default=None)
        self._generation = self._checkpoint.generation_config(self._config)
        self.revision = self._checkpoint.digest()
        options = {**self._canary_languages(), "long_documents": "auto"}
        self._canary = self.prepare(CANARY, options).items[0]
        self._probe = self.prepare(" ".join([CANARY] * USUAL_SENTENCES[self.task]), options).items[0]

    # --- prepare and assemble (task threads) --------------------------------------------------------------------------

    def prepare(self, text: str, options: Mapping[str, Any]) -> Prepared:
        """Cut the text into items: sentences to translate, the text or its chunks to summarize.

        Raises DocumentError.
        """
        given = {name: value for name, value in options.items() if value is not None}
        route = self._route(given)
        settings = generation.settings(route.base, self._defaults, given, self._limit, route.frame.settings)
        refuse = (self._defaults | given).get("long_documents") == "error"
        prepared: Prepared = self._rule.prepare(route, text, settings, refuse)
        return prepared

    def assemble(self, prepared: Prepared, outputs: Sequence[Generated]) -> Outcome | Prepared:
        """The document's text from its items' tokens, or the next round of a long summary. Raises DocumentError."""
        outcome: Outcome | Prepared = self._rule.assemble(prepared, outputs)
        return outcome

    def _route(self, options: Mapping[str, Any]) -> Route:
        """How items are made for the languages that the options name."""
        named = {**self._defaults, **options}
        pair = (
            self._language(named.get("source_lang"), self._source_langs),
            self._language(named.get("target_lang"), self._target_langs),
        )
        route = self._routes.get(pair)
        if route is None:
            parameters = self._task_parameters(pair)
            prefix = parameters.get("prefix", "") if self._prefix is None else self._prefix
            base = generation.base_of(self._generation, parameters)
            frame = self._codec.frame(pair)
            route = self._routes[pair] = Route(self._codec, pair, frame, prefix or "", base, self._window)
        return route

    def _language(self, asked: str | None, offered: Sequence[str]) -> str | None:
        """The catalogue's spelling of a language; the only one offered where none is asked for."""
        if asked is None:
            return offered[0] if len(offered) == 1 else None
        return languages.resolve(asked, frozenset(offered)) or asked

    def _task_parameters(self, pair: Pair) -> Mapping[str, Any]:
        """What the checkpoint's configuration has for the task: a prefix, generation settings."""
        known: Mapping[str, Any] = getattr(self._config, "task_specific_params", None) or {}
        source, target = (languages.two_letters(lang) if lang else lang for lang in pair)
        key = "summarization" if self.task == "summarization" else f"translation_{source}_to_{target}"
        found: Mapping[str, Any] = known.get(key, {})
        return found

    def _canary_languages(self) -> dict[str, Any]:
        """Any pair that the model knows, where it must be told one."""
        sources, targets = self._source_langs, self._target_langs
        if not sources and not targets and (known := sorted(self._codec.known_languages)):
            sources = targets = tuple(known)
        source = self._defaults.get("source_lang") or next(iter(sources), None)
        target = self._defaults.get("target_lang") or next((t for t in targets if t != source), None)
        return {"source_lang": source, "target_lang": target} if self.task == "translation" else {}

    # --- run (engine thread) ------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Raises ModelUnavailable, DeviceOutOfMemory."""
        # Settings travel with each batch. What the model keeps would fill in whatever these leave unset.
        self._resident.load().generation_config = GenerationConfig()  # type: ignore[no-untyped-call]

    def unload(self) -> None:
        self._resident.unload()

    def memory_bytes(self) -> int:
        return self._resident.memory_bytes()

    def canary(self) -> Item:
        return self._canary

    def probe(self) -> Item:
        return self._probe

    def run(self, items: Sequence[Item]) -> list[Generated]:
        """One generation for all items; they share a group, so a language pair and settings."""
        return loading.without_traceback(lambda: self._generate(items))

    @torch.inference_mode()
    def _generate(self, items: Sequence[Item]) -> list[Generated]:
        group: Any = items[0].group
        pair, settings = group
        config: GenerationConfig = settings.apply(self._routes[pair].base)
        ids, mask = loading.padded([item.payload for item in items], self._pad, self._resident.device)
        model: Any = self._resident.model
        own = search.search if search.supports(config) else None
        if own is None:
            metrics.FOREIGN_SEARCHES.labels(self.name).inc(len(items))
        rows = model.generate(input_ids=ids, attention_mask=mask, generation_config=config, custom_generate=own)
        return [generation.finished(row, config) for row in rows.tolist()]
