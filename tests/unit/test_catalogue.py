"""The catalogue: what it offers, what it picks, and what it refuses with the line and the reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from store.catalogue import Catalogue, load
from textmill import tasks
from textmill.errors import CatalogueError, InvalidOptions, ModelNotFound
from textmill.tasks import Offer
from textmill.tasks.translation import TranslationOffer

NER_CONFIG = {
    "architectures": ["BertForTokenClassification"],
    "max_position_embeddings": 256,
    "id2label": {"0": "O", "1": "B-PER", "2": "I-PER", "3": "B-LOC", "4": "I-LOC"},
}
MARIAN_CONFIG = {"architectures": ["MarianMTModel"], "max_position_embeddings": 512}

FILE = """
[ner-small]
task = "ner"
source = "ner-small"
window = 256
licence = "Apache-2.0"
limitations = "A test."
default = true

[en-pt]
task = "translation"
source = "en-pt"
source_langs = ["en"]
target_langs = ["pt"]
window = 512
options = { num_beams = 2, max_length = 256 }
licence = "MPL-2.0"
limitations = "A test."
default = true

[opus-en-fr]
task = "translation"
source = "hub:Helsinki-NLP/opus-mt-en-fr"
source_langs = ["en"]
target_langs = ["fr"]
window = 512
licence = "Apache-2.0"
limitations = "A test."

[opus-fr-en]
task = "translation"
source = "hub:Helsinki-NLP/opus-mt-fr-en"
source_langs = ["fr"]
target_langs = ["en"]
window = 512
licence = "Apache-2.0"
limitations = "A test."

[opus-de-en]
task = "translation"
source = "hub:Helsinki-NLP/opus-mt-de-en"
source_langs = ["de"]
target_langs = ["en"]
window = 512
licence = "Apache-2.0"
limitations = "A test."

[many]
task = "translation"
source = "hub:facebook/nllb-200-distilled-600M"
source_langs = ["en", "fr", "ja"]
target_langs = ["en", "fr", "ja"]
lang_codes = { en = "eng_Latn", fr = "fra_Latn", ja = "jpn_Jpan" }
window = 512
licence = "CC-BY-NC-4.0"
limitations = "A test."
"""


def safetensors(size: int = 16) -> bytes:
    """A whole file with one tensor of that many bytes."""
    header = json.dumps({"weight": {"dtype": "F16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


def folder(path: Path, config: dict[str, Any]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.json").write_text("{}")
    (path / "model.safetensors").write_bytes(safetensors())
    return path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A catalogue file beside the two folders that it names."""
    folder(tmp_path / "ner-small", NER_CONFIG)
    folder(tmp_path / "en-pt", MARIAN_CONFIG)
    path = tmp_path / "catalogue.toml"
    path.write_text(FILE)
    return path


@pytest.fixture
def catalogue(written: Path) -> Catalogue:
    return load(written)


def test_an_entry_has_what_the_file_says_and_what_the_folder_shows(catalogue: Catalogue, written: Path) -> None:
    entry = catalogue.get("ner-small")
    assert (entry.task, entry.window, entry.local, entry.dtype) == ("ner", 256, True, "auto")
    assert entry.path == written.parent / "ner-small"
    assert entry.labels == ["LOC", "PER"]
    assert entry.architecture == "BertForTokenClassification"
    hub = catalogue.get("opus-en-fr")
    assert (hub.local, hub.path, hub.source) == (False, None, "Helsinki-NLP/opus-mt-en-fr")


def test_a_number_format_for_the_cpu_leaves_that_of_gpus_alone(written: Path) -> None:
    written.write_text(FILE.replace('source = "ner-small"', 'source = "ner-small"\ncpu_dtype = "int8"'))
    entry = load(written).get("ner-small")
    assert (entry.dtype, entry.cpu_dtype, entry.public()["cpu_dtype"]) == ("auto", "int8", "int8")
    written.write_text(FILE.replace('source = "ner-small"', 'source = "ner-small"\ncpu_dtype = "int8_float16"'))
    assert "cpu_dtype" in str(refused(written))


def test_public_shows_the_hub_id_but_no_path_of_this_machine(catalogue: Catalogue, written: Path) -> None:
    shown = [entry.public() for entry in catalogue.entries.values()]
    assert str(written.parent) not in json.dumps(shown)
    assert shown[0]["source"] is None
    assert shown[2]["source"] == "Helsinki-NLP/opus-mt-en-fr"
    assert shown[0]["labels"] == ["LOC", "PER"]
    assert shown[1]["options"] == {"num_beams": 2, "max_length": 256}
    assert (shown[1]["source_langs"], shown[1]["target_langs"]) == (["en"], ["pt"])


def test_a_package_is_taken_instead_of_the_hub_where_it_is_installed(
    written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = written.parent
    text = FILE.replace('source = "ner-small"', 'source = "hub:owner/ner"\npackage = "weights_of_ner/model"')
    written.write_text(text)
    away = load(written).get("ner-small")
    assert (away.local, away.source, away.public()["source"]) == (False, "owner/ner", "owner/ner")
    (place / "weights_of_ner").mkdir()
    (place / "weights_of_ner" / "__init__.py").write_text("raise RuntimeError('nothing of it is imported')")
    (place / "ner-small").rename(place / "weights_of_ner" / "model")
    monkeypatch.syspath_prepend(place)
    found = load(written)
    here = found.get("ner-small")
    assert (here.local, here.path, here.public()["source"]) == (True, place / "weights_of_ner" / "model", None)
    assert "ner" not in found.bundled(), "it does not come with the catalogue"


def test_public_has_the_same_fields_for_every_model(catalogue: Catalogue) -> None:
    fields = {"name", "task", "default", "source_langs", "target_langs", "window", "options", "labels", "revision"}
    fields |= {"dtype", "cpu_dtype", "backend", "architecture", "chat_template", "licence", "limitations", "source"}
    shown = [entry.public() for entry in catalogue.with_echo().entries.values()]
    assert {frozenset(model) for model in shown} == {frozenset(fields)}
    for model, backend in ((shown[0], "auto"), (shown[-1], "echo")):  # entities, and echo
        assert (model["source_langs"], model["target_langs"], model["backend"]) == ([], [], backend)


@pytest.mark.parametrize(
    ("task", "model", "options", "expected"),
    [
        ("ner", None, {}, "ner-small"),
        ("ner", "ner-small", {}, "ner-small"),
        ("translation", None, {}, "en-pt"),  # no language named: the default, the only one
        ("translation", None, {"target_lang": "pt"}, "en-pt"),
        ("translation", None, {"target_lang": "pt_BR"}, "en-pt"),  # a region falls back to its language
        ("translation", None, {"source_lang": "EN", "target_lang": "PT"}, "en-pt"),
        ("translation", None, {"target_lang": "fr"}, "opus-en-fr"),  # the only source language on offer
        ("translation", None, {"source_lang": "en", "target_lang": "fr"}, "opus-en-fr"),  # first in the file
        ("translation", None, {"source_lang": "fr", "target_lang": "en"}, "opus-fr-en"),
        ("translation", None, {"source_lang": "fr", "target_lang": "ja"}, "many"),
        ("translation", None, {"source_lang": "fra_Latn", "target_lang": "jpn_Jpan"}, "many"),
        ("translation", "many", {"source_lang": "en", "target_lang": "fr"}, "many"),
        ("translation", "en-pt", {}, "en-pt"),
    ],
)
def test_resolve(catalogue: Catalogue, task: Any, model: str | None, options: dict[str, object], expected: str) -> None:
    assert catalogue.resolve(task, model, options).name == expected


@pytest.mark.parametrize(
    ("task", "model", "options", "error", "says"),
    [
        ("ner", "gone", {}, ModelNotFound, "ner-small, en-pt"),
        ("summarization", None, {}, ModelNotFound, "summarization"),
        ("translation", "ner-small", {}, InvalidOptions, "is for ner"),
        ("translation", None, {"source_lang": "de", "target_lang": "fr"}, ModelNotFound, "from de to fr"),
        # French or German? Guessing gives fluent nonsense.
        ("translation", None, {"target_lang": "en"}, InvalidOptions, "needs source_lang"),
        ("translation", None, {"target_lang": "ja"}, InvalidOptions, "needs source_lang"),
        ("translation", None, {"target_lang": "xx"}, ModelNotFound, "target_lang 'xx' is not offered; offered are: "),
        ("translation", None, {"source_lang": "xx", "target_lang": "en"}, ModelNotFound, "source_lang 'xx' is not"),
        ("translation", None, {"source_lang": "fr"}, InvalidOptions, "needs target_lang"),
    ],
)
def test_resolve_refuses(
    catalogue: Catalogue, task: Any, model: str | None, options: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        catalogue.resolve(task, model, options)


def test_an_entry_says_what_its_tokenizer_calls_the_languages(catalogue: Catalogue) -> None:
    offer = catalogue.get("many").offer
    assert isinstance(offer, TranslationOffer)
    assert [offer.tokenizer_code(lang) for lang in ("en", "ja", "de")] == ["eng_Latn", "jpn_Jpan", "de"]
    assert catalogue.get("ner-small").offer == Offer()


def test_echo_serves_any_task_by_name_and_is_never_a_default(catalogue: Catalogue) -> None:
    with pytest.raises(ModelNotFound):
        catalogue.get("echo")
    echo = catalogue.with_echo()
    assert echo.resolve("translation", "echo", {"target_lang": "xx"}).task is None
    assert echo.resolve("ner", None, {}).name == "ner-small"
    with pytest.raises(ModelNotFound):
        echo.resolve("summarization", None, {})


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("en-pt", {"max_length": 513}, "at most 512 tokens"),
        ("en-pt", {"max_new_tokens": 4096}, "at most 512 tokens"),
        ("en-pt", {"min_length": 300}, "min_length 300 is above max_length 256"),  # 256: the catalogue's default
        ("en-pt", {"min_length": 20, "max_new_tokens": 10}, "min_length 20 is above max_new_tokens 10"),
        ("ner-small", {"labels": ["PER", "DATE"]}, "no label DATE; it has: LOC, PER"),
    ],
)
def test_options_beyond_the_model_are_refused(
    catalogue: Catalogue, model: str, options: dict[str, object], says: str
) -> None:
    entry = catalogue.get(model)
    with pytest.raises(InvalidOptions, match=says):
        tasks.get(entry.task or "").canonical(entry, options)


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        ("en-pt", {"max_length": 512}, {"num_beams": 2, "max_length": 512}),
        ("en-pt", {"min_length": 256}, {"num_beams": 2, "max_length": 256, "min_length": 256}),
        ("many", {"source_lang": "EN", "target_lang": "jpn_Jpan"}, {"source_lang": "en", "target_lang": "ja"}),
        ("ner-small", {"labels": ["PER"]}, {"labels": ["PER"]}),
        ("opus-en-fr", {}, {"source_lang": "en", "target_lang": "fr"}),
    ],
)
def test_options_within_the_model_become_canonical(
    catalogue: Catalogue, model: str, options: dict[str, object], expected: dict[str, object]
) -> None:
    entry = catalogue.get(model)
    languages = {"source_lang": "en", "target_lang": "pt"} if model == "en-pt" else {}
    assert tasks.get(entry.task or "").canonical(entry, options) == expected | languages


def test_the_catalogue_that_ships_offers_a_default_for_each_bundled_task() -> None:
    shipped = load(Path(__file__).parents[2] / "models" / "catalogue.toml")
    assert set(shipped.bundled()) == {"summarization", "translation", "ner"}
    for task, entry in shipped.bundled().items():
        assert entry.local
        assert entry.default
        assert shipped.resolve(task, None, {}) is entry


def test_the_catalogue_that_ships_has_a_model_for_every_task() -> None:
    shipped = load(Path(__file__).parents[2] / "models" / "catalogue.toml")
    for task in tasks.NAMES:
        assert [entry.default for entry in shipped.for_task(task)].count(True) == 1, task
        assert all(len(entry.limitations) > 40 for entry in shipped.for_task(task) if entry.default)


def refused(path: Path) -> CatalogueError:
    with pytest.raises(CatalogueError) as caught:
        load(path)
    return caught.value


def line_with(path: Path, text: str) -> int:
    return next(n for n, line in enumerate(path.read_text().splitlines(), start=1) if text in line)


@pytest.mark.parametrize(
    ("old", "new", "at", "says"),
    [
        ("window = 256", "windows = 256", "windows = 256", "windows: unknown; known are: task, source"),
        ("window = 256", 'window = "256"', 'window = "256"', "window"),
        ("window = 256", "window = 300", "window = 300", "only 256 positions"),
        ("window = 256\n", "", "[ner-small]", "Field required"),
        (
            "window = 256\n",
            'target_langs = ["pt"]\nwindow = 256\n',
            'target_langs = ["pt"]',
            "target_langs: unknown; known are: task",
        ),
        ('task = "ner"', 'task = "tagging"', 'task = "tagging"', "summarization"),
        (
            'task = "ner"',
            'task = "summarization"',
            'task = "summarization"',
            "BertForTokenClassification.*summarization",
        ),
        ('source = "ner-small"', 'source = "gone"', 'source = "gone"', "there is no folder"),
        ('target_langs = ["pt"]\n', "", "[en-pt]", "needs both"),
        ("lang_codes = { en", 'lang_codes = { de = "deu_Latn", en', "[many]", "in neither list: de"),
        (
            'source_langs = ["en"]',
            'source_langs = "en"',
            'source_langs = "en"',
            "source_langs: Input should be a valid",
        ),
        (
            '["en"]\ntarget',
            '["en"]\nlangs = 1\ntarget',
            "langs = 1",
            "langs: unknown.*backend.*source_langs, target_langs",
        ),
        ("window = 256", 'window = 256\nbackend = ""', 'backend = ""', "backend: String should have at least 1"),
        ("num_beams = 2", "min_length = 300", "options = {", "min_length 300 is above max_length 256"),
        ("num_beams = 2", 'target_lang = "fr"', "options = {", "no target_lang 'fr': pt"),
        ("num_beams = 2", "beams = 2", "options = {", "beams: unknown; known are: .*num_beams"),
        ("max_length = 256", "max_length = 1000", "options = {", "at most 512"),
        ('["fr"]\nwindow', '["pt"]\ndefault = true\nwindow', "default = true\nwindow", "en-pt is the default already"),
        ("[many]", '["bad name"]', '["bad name"]', "pattern"),
    ],
)
def test_a_wrong_entry_is_refused_with_its_line_and_the_reason(
    written: Path, old: str, new: str, at: str, says: str
) -> None:
    assert FILE.count(old) >= 1
    text = FILE.replace(old, new, 1)
    written.write_text(text)
    error = refused(written)
    line = text[: text.index(at)].count("\n") + 1
    assert error.message.startswith(f"{written}:{line}: "), error.message
    with pytest.raises(CatalogueError, match=says):
        load(written)


def test_the_line_of_a_key_in_a_table_of_its_own(written: Path) -> None:
    written.write_text(
        FILE.replace("options = { num_beams = 2, max_length = 256 }\n", "")
        + "\n[en-pt.options]\nmax_length = 256\ntop_p = 1.0\n"
    )
    assert f":{line_with(written, '[en-pt.options]') + 2}: en-pt: options.top_p: unknown" in refused(written).message


def test_a_file_that_is_no_toml_names_the_line(written: Path) -> None:
    written.write_text("[a]\ntask = ner\n")
    assert "line 2" in refused(written).message


def test_a_missing_file_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.toml").message
    (tmp_path / "empty.toml").write_text("")
    assert "names no model" in refused(tmp_path / "empty.toml").message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: (d / "config.json").unlink(), "config.json is missing"),
        (lambda d: (d / "config.json").write_text("{"), "not JSON"),
        (
            lambda d: (d / "config.json").write_text(json.dumps(NER_CONFIG | {"auto_map": {"AutoModel": "x.Y"}})),
            "never run",
        ),
        (lambda d: (d / "config.json").write_text("{}"), "names no architecture"),
        (lambda d: (d / "tokenizer.json").unlink(), "has no tokenizer"),
        (lambda d: (d / "model.safetensors").rename(d / "pytorch_model.bin"), "pytorch_model.bin is not safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes(b"PK\x03\x04" + bytes(100)), "not a safetensors file"),
        (
            lambda d: (d / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1"),
            "not a safetensors file",
        ),
        (lambda d: (d / "model.safetensors").write_bytes(safetensors()[:-1]), "its header tells of"),
        (
            lambda d: (d / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}'),
            "model-2.safetensors is missing",
        ),
    ],
)
def test_a_folder_that_cannot_serve_is_refused(written: Path, change: Any, says: str) -> None:
    change(written.parent / "ner-small")
    error = refused(written)
    assert says in error.message
    line = line_with(written, 'source = "ner-small"')
    assert f":{line}: ner-small" in error.message
