"""`python -m workers models`: the real command and hub client, against a hub of one repository on this machine."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from huggingface_hub import constants
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

from workers.model_command import main

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as it would lie on the hub: the same weights as safetensors and as a pickle."""
    folder = tmp_path_factory.mktemp("repository")
    labels = {0: "O", 1: "B-PER", 2: "I-PER"}
    config = BertConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=16, id2label=labels, label2id={label: index for index, label in labels.items()},
    )  # fmt: skip
    model = BertForTokenClassification(config)
    model.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "a": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    return folder


class Hub(ThreadingHTTPServer):
    """The hub's three answers that a download needs: the revision, its files, each file."""

    files: dict[str, bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """Serves what `Hub.files` holds, at any revision, as the commit COMMIT."""

    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        files = self.server.files
        if path.startswith("/api/") and "/tree/" in path:
            body = json.dumps(
                [{"type": "file", "path": n, "size": len(f), "oid": n} for n, f in files.items()]
            ).encode()
        elif path.startswith("/api/"):
            body = json.dumps({"id": "o/tiny", "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]}).encode()
        elif (name := path.rsplit("/", 1)[-1]) in files:
            body = files[name]
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{abs(hash(body)):x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, and a catalogue that names its model; the client is pointed at it as HF_ENDPOINT and HF_HOME would."""
    server = Hub(("127.0.0.1", 0), Answer)
    server.files = {path.name: path.read_bytes() for path in repository.iterdir()}
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(
        f'[tiny]\ntask = "ner"\nsource = "hub:o/tiny"\nrevision = "{COMMIT}"\n'
        'window = 16\nlicence = "MIT"\nlimitations = "-"\n'
    )
    monkeypatch.setenv("TEXTMILL_CATALOGUE", str(catalogue))
    monkeypatch.setenv("TEXTMILL_CACHE_DIR", str(tmp_path / "made"))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_is_fetched_once_and_then_passes_the_check_without_the_hub(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check"]) == 0  # not asked for by name: it may be missing
    assert main(["check", "tiny"]) == 1
    assert capsys.readouterr().out.count("tiny: not fetched") == 2
    assert main(["pull", "tiny"]) == 0
    assert COMMIT in capsys.readouterr().out
    made = [path.name for path in (tmp_path / "made" / "ctranslate2").iterdir() if path.is_dir()]
    assert len(made) == 1, "the worker's conversion, that of the check alike"
    assert made[0].startswith(f"tiny-{COMMIT}-token_scores-float32-")
    assert not list((tmp_path / "cache").rglob("*.bin"))
    hub.files = {}
    assert main(["check", "tiny"]) == 0
    assert "tiny: ok: BertForTokenClassification" in capsys.readouterr().out


def test_a_pickle_is_refused_unless_it_is_converted(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del hub.files["model.safetensors"]
    assert main(["pull", "tiny"]) == 1
    assert "no safetensors" in capsys.readouterr().err
    assert main(["pull", "tiny", "--convert", str(tmp_path / "converted")]) == 0
    path = tmp_path / "catalogue.toml"
    path.write_text(path.read_text().replace("hub:o/tiny", "converted"))
    assert main(["check"]) == 0
    assert "tiny: ok: BertForTokenClassification" in capsys.readouterr().out


def test_an_unknown_name_and_a_file_that_the_hub_lacks(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pull", "nobody"]) == 2
    assert "it has: tiny" in capsys.readouterr().err
    del hub.files["config.json"]
    assert main(["pull", "tiny"]) == 1
    assert "config.json is missing" in capsys.readouterr().err


def test_compare_tells_speed_agreement_and_the_texts_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEXTMILL_CACHE_DIR", str(tmp_path))
    texts = tmp_path / "texts.txt"
    texts.write_text("The program reads text files from the disk.\n\nPlay chess across 3 boards!\n")
    options = '{"source_lang": "en", "target_lang": "pt"}'
    name = "translation-en-pt-small"
    assert main(["compare", name, "--texts", str(texts), "--formats", "float32", "--options", options]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("torch float32: ")
    assert second.startswith("ctranslate2 float32: ")
    assert second.endswith("2 of 2 answers are the same")
    cut = '{"source_lang": "en", "target_lang": "pt", "num_beams": 4, "early_stopping": false, "length_penalty": 5.0}'
    assert main(["compare", name, "--texts", str(texts), "--formats", "int8", "--options", cut]) == 0
    assert "ctranslate2 int8: " in capsys.readouterr().out
    assert main(["compare", name, "--texts", str(tmp_path / "none")]) == 2
    assert main(["compare", name, "--texts", str(texts), "--formats", "float16"]) == 1
    assert "it has no float16 on a CPU" in capsys.readouterr().err
