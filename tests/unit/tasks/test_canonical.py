"""A job's options made canonical for a model: lengths laid over each other, languages as the entry writes them."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from textmill import tasks
from textmill.errors import InvalidOptions, InvalidRequest, ModelNotFound
from textmill.tasks import Offer, generation
from textmill.tasks.translation import TranslationOffer


@dataclass(frozen=True)
class Model:
    """The least that a task asks of a model."""

    name: str = "m"
    window: int = 512
    options: dict[str, Any] = field(default_factory=dict)
    labels: list[str] | None = None
    offer: BaseModel = field(default_factory=Offer)
    default: bool = False


def translator(sources: list[str], targets: list[str], codes: dict[str, str] | None = None, **more: Any) -> Model:
    return Model(offer=TranslationOffer(source_langs=sources, target_langs=targets, lang_codes=codes or {}), **more)


SUMMARIZATION, TRANSLATION, NER = (tasks.get(name) for name in ("summarization", "translation", "ner"))


# --- the list ---------------------------------------------------------------------------------------------------------


def test_a_task_is_found_by_its_name_and_by_its_aliases() -> None:
    assert tasks.NAMES[:3] == ("summarization", "translation", "ner")
    aliases = {
        "token-classification": "ner",
        "sentiment-analysis": "text-classification",
        "embeddings": "feature-extraction",
    }
    assert {alias: tasks.get(alias).name for alias in aliases} == aliases


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match=r"'parsing'.*summarization, translation, ner"):
        tasks.get("parsing")


def test_no_two_tasks_share_a_name() -> None:
    names = [name for task in tasks.TASKS for name in (task.name, *task.aliases)]
    assert len(names) == len(set(names))


# --- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        ({"num_beams": 2, "max_length": 60}, {}, {"num_beams": 2, "max_length": 60}),
        ({"max_length": 60}, {"max_new_tokens": 90}, {"max_new_tokens": 90}),
        ({"max_new_tokens": 60}, {"max_length": 90}, {"max_length": 90}),
        ({"max_length": 60}, {"max_length": None}, {"max_length": 60}),
        ({}, {"max_length": 60, "max_new_tokens": 90}, {"max_new_tokens": 90}),
        ({"max_length": 60, "max_new_tokens": 90}, {}, {"max_new_tokens": 90}),
        ({"min_length": 56}, {"max_length": 57}, {"min_length": 56, "max_length": 57}),
        ({"min_length": 56}, {"max_length": 56}, {"min_length": 28, "max_length": 56}),
        ({"min_length": 56, "max_length": 142}, {"max_length": 50}, {"min_length": 25, "max_length": 50}),
        # max_new_tokens = 49 is max_length = 50
        ({"min_length": 56}, {"max_new_tokens": 49}, {"min_length": 25, "max_new_tokens": 49}),
        ({"min_length": 56}, {"max_new_tokens": 56}, {"min_length": 56, "max_new_tokens": 56}),
        ({"min_length": 56}, {"max_length": 1}, {"min_length": 0, "max_length": 1}),
        ({"min_length": 56}, {"min_length": 10, "max_length": 50}, {"min_length": 10, "max_length": 50}),
        # Who asked for the minimum must hear of it, which is `check`'s to do.
        ({"max_length": 60}, {"min_length": 100}, {"min_length": 100, "max_length": 60}),
    ],
)
def test_lengths_are_laid_over_each_other(
    lower: dict[str, Any], upper: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert generation.lay_over(lower, upper) == expected
    assert SUMMARIZATION.lay_over(lower, upper) == TRANSLATION.lay_over(lower, upper) == expected


@pytest.mark.parametrize(
    ("catalogue", "job", "expected"),
    [
        ({"max_new_tokens": 60}, {"max_length": 400, "min_length": 100}, {"max_length": 400, "min_length": 100}),
        ({"min_length": 56}, {"max_length": 50}, {"max_length": 50, "min_length": 25}),
        ({"max_new_tokens": 60}, {"min_length": 61}, {"max_new_tokens": 60, "min_length": 61}),
        ({"num_beams": 4}, {"num_beams": None, "length_penalty": 2}, {"num_beams": 4, "length_penalty": 2.0}),
    ],
)
def test_a_jobs_lengths_over_the_catalogues(
    catalogue: dict[str, Any], job: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert SUMMARIZATION.canonical(Model(options=catalogue), job) == expected


@pytest.mark.parametrize(
    ("catalogue", "job", "says"),
    [
        ({"max_new_tokens": 200}, {"max_length": 50, "min_length": 100}, "min_length 100 is above max_length 50"),
        ({"max_length": 200}, {"max_new_tokens": 10, "min_length": 20}, "min_length 20 is above max_new_tokens 10"),
        ({"max_length": 256}, {"min_length": 300}, "min_length 300 is above max_length 256"),
        ({"max_new_tokens": 60}, {"min_length": 62}, "min_length 62 is above max_new_tokens 60"),
        ({}, {"max_length": 513}, "max_length is 513; the model m takes and gives at most 512"),
        ({}, {"max_length": 513, "max_new_tokens": 10}, "max_length is 513"),
    ],
)
def test_lengths_that_contradict_each_other_are_refused(
    catalogue: dict[str, Any], job: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidOptions, match=says):
        SUMMARIZATION.canonical(Model(options=catalogue), job)


def test_a_catalogue_entry_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(InvalidOptions, match="min_length 60 is above max_length 50"):
        SUMMARIZATION.defaults(Model(options={"min_length": 60, "max_length": 50}))


lengths = st.integers(1, 40)
layers = st.fixed_dictionaries({}, optional=dict.fromkeys(generation.LENGTHS, lengths))


@given(catalogue=layers, job=layers)
def test_canonical_options_stay_as_they_are(catalogue: dict[str, Any], job: dict[str, Any]) -> None:
    model = Model(options=catalogue, window=32)
    try:
        once = SUMMARIZATION.canonical(model, job)
    except InvalidOptions:
        return
    assert SUMMARIZATION.canonical(model, once) == once
    longest = generation.decoder_length(once)
    assert longest is None or once.get("min_length", 0) <= longest
    # What the job says is never changed: it holds, or the job is refused.
    assert {name: once[name] for name in job if name in once} == {name: job[name] for name in job if name in once}


# --- languages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "asked", "expected"),
    [
        (["pt", "pt_br"], "pt-BR", "pt_br"),
        (["pt", "pt_br"], "pt", "pt"),
        (["pt", "pt_br"], "pt-PT", "pt"),
        (["pt"], "pt_BR", "pt"),
        (["pt"], None, "pt"),
        (["pt", "fr"], "FRA-latn", "fr"),
        # The entry's own code wins over another language's code of the tokenizer.
        (["no", "nb"], "nb", "nb"),
    ],
)
def test_a_language_is_stored_as_the_entry_writes_it(targets: list[str], asked: str | None, expected: str) -> None:
    codes = {"fr": "fra_Latn", "no": "nb"}
    model = translator(["en"], targets, {code: name for code, name in codes.items() if code in targets})
    canonical = TRANSLATION.canonical(model, {"tgt_lang": asked} if asked else {})
    assert canonical == {"source_lang": "en", "target_lang": expected}
    assert TRANSLATION.canonical(model, canonical) == canonical


def test_the_catalogues_languages_are_defaults_like_any_option() -> None:
    model = translator(["en", "fr"], ["en", "fr", "pt"], options={"source_lang": "EN", "target_lang": "pt"})
    assert TRANSLATION.canonical(model, {}) == {"source_lang": "en", "target_lang": "pt"}
    assert TRANSLATION.canonical(model, {"source_lang": "fr"}) == {"source_lang": "fr", "target_lang": "pt"}
    with pytest.raises(InvalidOptions, match="has no target_lang 'xx'"):
        TRANSLATION.defaults(translator(["en"], ["pt"], options={"target_lang": "xx"}))


def test_a_model_without_languages_takes_what_the_job_says() -> None:
    assert TRANSLATION.canonical(Model(), {"target_lang": "xx"}) == {"target_lang": "xx"}
    assert TRANSLATION.canonical(Model(), {}) == {}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"target_lang": "fr"}, "needs source_lang: en, fr"),
        ({"source_lang": "en", "target_lang": "xx"}, "no target_lang 'xx': en, fr"),
        ({"source_lang": "fr", "target_lang": "fr-FR"}, "both fr"),
    ],
)
def test_languages_that_the_model_lacks_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOptions, match=says):
        TRANSLATION.canonical(translator(["en", "fr"], ["en", "fr"]), options)


def test_a_pair_without_a_model_names_the_pairs_on_offer() -> None:
    models = [translator(["en"], ["pt", "en"]), translator(["fr"], ["de"])]
    with pytest.raises(ModelNotFound) as caught:
        TRANSLATION.choose(models, {"source_lang": "en", "target_lang": "de"})
    assert caught.value.details["valid"] == ["en-pt", "fr-de"]


def test_a_language_that_no_model_has_names_those_on_offer() -> None:
    with pytest.raises(ModelNotFound, match="target_lang 'xx' is not offered; offered are: en, pt"):
        TRANSLATION.choose([translator(["en"], ["pt", "en"])], {"target_lang": "xx"})


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (translator(["en"], ["pt"]), translator(["en"], ["fr"]), False),
        (translator(["en"], ["pt"]), translator(["fr"], ["pt"]), False),
        (translator(["en", "fr"], ["pt"]), translator(["fr"], ["pt", "de"]), True),
    ],
)
def test_defaults_clash_where_they_share_a_pair(one: Model, other: Model, expected: bool) -> None:
    assert TRANSLATION.clashes(one, other) is TRANSLATION.clashes(other, one) is expected
    assert NER.clashes(one, other)


# --- the form of options ----------------------------------------------------------------------------------------------


def test_options_have_one_name() -> None:
    assert TRANSLATION.checked({"src_lang": "en", "tgt_lang": None}) == {"source_lang": "en"}
    with pytest.raises(InvalidOptions, match="src_lang: given twice, as source_lang too"):
        TRANSLATION.checked({"src_lang": "en", "source_lang": "en"})
    with pytest.raises(InvalidOptions, match="src_lang: summarization has no such option; options of summarization"):
        SUMMARIZATION.checked({"src_lang": "en"})


def test_labels_are_those_of_the_model() -> None:
    assert NER.labels({"id2label": {"0": "O", "1": "B-PER", "2": "I-PER", "3": "LOC"}}) == ["LOC", "PER"]
    assert SUMMARIZATION.labels({"id2label": {"0": "LABEL_0"}}) is None
    model = Model(labels=["LOC", "PER"])
    assert NER.canonical(model, {"labels": ["PER"]}) == {"labels": ["PER"]}
    assert NER.canonical(Model(), {"labels": ["DATE"]}) == {"labels": ["DATE"]}
    with pytest.raises(InvalidOptions, match="no label DATE; it has: LOC, PER"):
        NER.canonical(model, {"labels": ["PER", "DATE"]})
    with pytest.raises(InvalidOptions, match="no label DATE"):
        NER.defaults(Model(labels=["PER"], options={"labels": ["DATE"]}))


def test_the_first_default_serves_a_job_that_names_no_model() -> None:
    first, second, third = Model("1"), Model("2", default=True), Model("3", default=True)
    assert NER.choose([first, second, third], {}) is second
    assert NER.choose([first], {}) is first
