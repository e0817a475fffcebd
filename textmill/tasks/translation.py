"""Translation: a text in another language. Here stands all that the contract knows of languages."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import AliasChoices, Field, model_validator

from textmill.base import Wire
from textmill.errors import InvalidOptions, ModelNotFound
from textmill.tasks.generation import GenerationOptions, GenerationTask
from textmill.tasks.task import C, Offer, Offered

Language = Annotated[str, Field(min_length=1, max_length=32)]
LANGUAGE_OPTIONS = ("source_lang", "target_lang")


class TranslationOptions(GenerationOptions):
    """Options of a translation job."""

    source_lang: Language | None = Field(default=None, validation_alias=AliasChoices("source_lang", "src_lang"))
    """Language of the texts, ISO 639; need not be named where the model has only one."""
    target_lang: Language | None = Field(default=None, validation_alias=AliasChoices("target_lang", "tgt_lang"))
    """Language to translate to, likewise."""
    copy_identifiers: bool | None = None
    """Identifiers come out as they went in: addresses, paths, file names, versions, options, variables, calls, code
    between backticks, names in braces or with digits, underscores or capitals inside; all of ASCII, and no decimals
    ("3.5"), times or ordinals. A sentence that is nothing else is copied."""


class TranslationOutput(Wire):
    """What a document became."""

    translation_text: str


class TranslationOffer(Offer):
    """The languages of a model: it takes any of its source languages to any other of its target languages."""

    source_langs: list[str] = Field(default_factory=list)
    target_langs: list[str] = Field(default_factory=list)
    """ISO 639 codes."""
    lang_codes: dict[str, str] = Field(default_factory=dict)
    """What the model's tokenizer calls a language, where that is not the ISO code (NLLB: `en = "eng_Latn"`)."""

    @model_validator(mode="after")
    def _languages_are_there(self) -> Self:
        if not (self.source_langs and self.target_langs):
            raise ValueError("source_langs and target_langs: a translation model needs both")
        if unknown := sorted(set(self.lang_codes) - {*self.source_langs, *self.target_langs}):
            raise ValueError(f"lang_codes names languages that are in neither list: {', '.join(unknown)}")
        return self

    def public(self) -> dict[str, Any]:
        """The languages; what the tokenizer calls them is taken as a spelling, but not shown."""
        return self.model_dump(exclude={"lang_codes"})

    def tokenizer_code(self, lang: str) -> str:
        """What the model's tokenizer calls the language."""
        return self.lang_codes.get(lang, lang)

    def match(self, asked: str, offered: Sequence[str]) -> str | None:
        """The offered code that a spelling means: `pt_BR`, `PT` and the tokenizer's own code all find `pt`.

        The nearest wins: the code itself, then another spelling of it, then the tokenizer's, then the language alone.
        """
        if asked in offered:
            return asked
        wanted = _plain(asked)
        by_spelling = {_plain(self.lang_codes[code]): code for code in offered if code in self.lang_codes}
        by_spelling |= {_plain(code): code for code in offered}
        return by_spelling.get(wanted) or by_spelling.get(wanted.split("-")[0])


def _plain(code: str) -> str:
    return code.replace("_", "-").lower()


class TranslationTask(GenerationTask):
    """Which model serves a job depends on its languages, and each job's languages are those of its model."""

    def canonical(self, model: Offered, options: Mapping[str, Any]) -> dict[str, Any]:
        """Both languages are named, as the model's entry writes them."""
        merged = super().canonical(model, options)
        # The echo model has no languages: it takes what a job says.
        if isinstance(model.offer, TranslationOffer):
            merged |= zip(LANGUAGE_OPTIONS, self.pair(model, model.offer, merged), strict=True)
        return merged

    def defaults(self, model: Offered) -> dict[str, Any]:
        """Languages among the defaults must be the model's."""
        own = super().defaults(model)
        if isinstance(model.offer, TranslationOffer):
            for option, offered in zip(LANGUAGE_OPTIONS, _sides(model.offer), strict=True):
                if own.get(option) is not None:
                    own[option] = _found(model, model.offer, option, own[option], offered)
        return own

    def pair(self, model: Offered, offer: TranslationOffer, options: Mapping[str, Any]) -> tuple[str, str]:
        """The (source, target) languages that the options ask for, as the model's entry writes them.

        An only language need not be named. Raises InvalidOptions where a language is unknown or missing.
        """
        source, target = (
            _found(model, offer, option, options.get(option), offered)
            for option, offered in zip(LANGUAGE_OPTIONS, _sides(offer), strict=True)
        )
        if source == target:
            raise InvalidOptions(f"source_lang and target_lang are both {source}", option="target_lang")
        return source, target

    def choose(self, candidates: Sequence[C], options: Mapping[str, Any]) -> C:
        """Of the models that offer the language pair the default, else the first; raises where that is guesswork.

        Without source_lang only models of a single source language count, and they must agree: German read as French
        comes out as fluent nonsense. Without target_lang only defaults count, and they must agree too.
        """
        source, target = (options.get(option) for option in LANGUAGE_OPTIONS)
        for option in LANGUAGE_OPTIONS:
            _check_offered(candidates, option, options.get(option))
        fitting: list[tuple[C, tuple[str, str]]] = []
        for model in sorted(candidates, key=lambda candidate: not candidate.default):
            if (target is None and not model.default) or not isinstance(model.offer, TranslationOffer):
                continue
            try:
                fitting.append((model, self.pair(model, model.offer, {**self.defaults(model), **options})))
            except InvalidOptions:
                continue
        pairs = {pair for _, pair in fitting}
        if not fitting or ((source is None or target is None) and len(pairs) > 1):
            missing = [option for option in LANGUAGE_OPTIONS if options.get(option) is None]
            if missing:
                message = f"translation needs {' and '.join(missing)} here"
                raise InvalidOptions(message, valid=_pairs(candidates), missing=missing)
            message = f"no model in the catalogue translates from {source} to {target}"
            raise ModelNotFound(message, valid=_pairs(candidates))
        return fitting[0][0]

    def shown(self, output: Mapping[str, Any]) -> str:
        """The translation."""
        return str(output["translation_text"])

    def clashes(self, one: Offered, other: Offered) -> bool:
        """Two defaults may stand beside each other where no language pair is common to both."""
        if not isinstance(one.offer, TranslationOffer) or not isinstance(other.offer, TranslationOffer):
            return True
        sides = zip(_sides(one.offer), _sides(other.offer), strict=True)
        return all(not set(these).isdisjoint(those) for these, those in sides)


def _sides(offer: TranslationOffer) -> tuple[list[str], list[str]]:
    return offer.source_langs, offer.target_langs


def _found(model: Offered, offer: TranslationOffer, option: str, asked: str | None, offered: list[str]) -> str:
    """The offered language that was asked for, or the only one. Raises InvalidOptions."""
    lang = offer.match(asked, offered) if asked is not None else offered[0] if len(offered) == 1 else None
    if lang is None:
        problem = f"has no {option} {asked!r}" if asked is not None else f"needs {option}"
        message = f"the model {model.name} {problem}: {', '.join(offered)}"
        raise InvalidOptions(message, option=option, valid=list(offered))
    return lang


def _check_offered(models: Sequence[Offered], option: str, asked: str | None) -> None:
    """Raises ModelNotFound for a language that no model has on this side."""
    side = LANGUAGE_OPTIONS.index(option)
    offers = [model.offer for model in models if isinstance(model.offer, TranslationOffer)]
    if asked is None or any(offer.match(asked, _sides(offer)[side]) for offer in offers):
        return
    offered = sorted({lang for offer in offers for lang in _sides(offer)[side]})
    message = f"{option} {asked!r} is not offered; offered are: {', '.join(offered)}"
    raise ModelNotFound(message, option=option, valid=offered)


def _pairs(models: Sequence[Offered]) -> list[str]:
    """The language pairs on offer, as `en-pt`."""
    offers = [model.offer for model in models if isinstance(model.offer, TranslationOffer)]
    return sorted({f"{s}-{t}" for offer in offers for s in offer.source_langs for t in offer.target_langs if s != t})


TASK = TranslationTask(
    name="translation",
    title="A text is translated into another language.",
    options=TranslationOptions,
    output=TranslationOutput,
    architectures=("ForConditionalGeneration", "MTModel"),
    offer=TranslationOffer,
)
