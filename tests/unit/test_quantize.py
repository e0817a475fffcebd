"""Fine-tuning for int8: the rounding is CTranslate2's, what is learnt holds there, and a folder stays what it was."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer

from models.training import served
from models.training.int8 import Int8, rounded
from models.training.quantize import Lessons, Plan, add_arguments, load, main, save, train
from models.training.shipped import MODELS
from tests.unit import models_from_config
from tests.unit.models_from_config import CORPUS
from workers.kinds import Kind

TEXTS = [f"{one.split('.')[0]} {other.lower()}" for one in CORPUS for other in CORPUS]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    found = {family: models_from_config.save_seq2seq(family, place) for family in ("marian", "bart", "t5", "m2m100")}
    for family in ("bert", "distilbert", "roberta"):
        found[family] = models_from_config.save_ner(family, place / family)
    return found


def rows(folder: Path, texts: list[str]) -> list[list[int]]:
    found: list[list[int]] = AutoTokenizer.from_pretrained(folder)(texts, truncation=True, max_length=64)["input_ids"]
    return found


def distance(some: list[Tensor], others: list[Tensor]) -> float:
    return float((torch.cat(some) - torch.cat(others)).norm())


@pytest.mark.parametrize("family", ["marian", "bart", "t5", "m2m100"])
def test_an_encoder_decoder_rounds_as_ctranslate2_does(folders: dict[str, Path], family: str) -> None:
    folder = folders[family]
    model = load(folder)
    translator = served.opened(folder, Kind.GENERATION, "int8")._converted.model
    found: dict[str, list[Tensor]] = {"float32": [], "simulated": [], "int8": []}
    for row in rows(folder, CORPUS):
        answer = model.generate(torch.tensor([row]), max_length=12, num_beams=1)[0].tolist()
        inputs = {"input_ids": torch.tensor([row]), "decoder_input_ids": torch.tensor([answer[:-1]])}
        with torch.inference_mode():
            for name, form in (("float32", model), ("simulated", Int8(model))):
                scores = form(**inputs).logits[0].log_softmax(-1)
                found[name].append(scores[torch.arange(len(scores)), torch.tensor(answer[1:])])
        [result] = translator.score_batch([[*map(str, row)]], [[*map(str, answer)]])
        found["int8"].append(torch.tensor(result.log_probs)[: len(answer) - 1])  # it adds an end
    assert distance(found["simulated"], found["int8"]) < distance(found["float32"], found["int8"]) / 4


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_an_encoder_rounds_as_ctranslate2_does(folders: dict[str, Path], family: str) -> None:
    model, simulated = load(folders[family]), Int8(load(folders[family]))
    ours = served.token_classifier(folders[family], "int8")
    found: dict[str, list[Tensor]] = {"float32": [], "simulated": [], "int8": []}
    for row in rows(folders[family], CORPUS):
        inputs = {"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row), dtype=torch.long)}
        with torch.inference_mode():
            for name, form in (("float32", model), ("simulated", simulated), ("int8", ours)):
                found[name].append(form(**inputs).logits[0])
    assert distance(found["simulated"], found["int8"]) < distance(found["float32"], found["int8"]) / 4


def test_a_rounding_lets_gradients_through() -> None:
    values = torch.tensor([0.2, 0.5, -1.0], requires_grad=True)
    found = rounded(values, torch.tensor(2.0))
    assert found.tolist() == [0.0, 0.5, -1.0]
    (found * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1.0, 2.0, 3.0]


def test_a_few_steps_bring_int8_nearer_to_float32() -> None:
    # A real model: random ones are so sensitive that every step moves them further than rounding does.
    folder = MODELS / "ner-en-small"
    lessons = Lessons(load(folder), folder, CORPUS, Plan(minutes=1, rate=1, tokens=400))

    def far(student: Any) -> float:
        with torch.inference_mode():
            return sum(float(lessons.lesson(batch)(Int8(student))) for batch in range(len(lessons.batches)))

    student = load(folder)
    before = far(student)
    losses = train(student, folder, CORPUS, Plan(minutes=5, rate=5e-5, tokens=400, steps=40))
    assert far(student) < before * 0.8
    assert len(losses) == 40
    assert sum(simulated for simulated, _ in losses) == 30
    again = train(load(folder), folder, CORPUS, Plan(minutes=5, rate=5e-5, tokens=400, steps=1))
    assert again == losses[:1]


def test_the_folder_keeps_its_form(folders: dict[str, Path], tmp_path: Path) -> None:
    folder, out = folders["marian"], tmp_path / "out"
    path = folder / "model.safetensors"
    old = {name: tensor.half() for name, tensor in load_file(path).items()} | {"unknown": torch.arange(3)}
    save_file(old, path, metadata={"format": "pt"})
    (folder / "README.md").write_text("A card.")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    student = load(folder)
    train(student, folder, TEXTS, Plan(minutes=5, rate=1e-3, tokens=400, steps=2))
    save(student, folder, out)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert {file.name for file in out.iterdir()} == set(before)
    assert all((out / name).read_bytes() == before[name] for name in before if name != "model.safetensors")
    new = load_file(out / "model.safetensors")
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in new.items()} == {
        name: (tensor.dtype, tensor.shape) for name, tensor in old.items()
    }
    assert new["unknown"].tolist() == [0, 1, 2]
    assert not torch.equal(new["model.shared.weight"], old["model.shared.weight"])
    with safe_open(out / "model.safetensors", "pt") as weights:
        assert weights.metadata() == {"format": "pt"}
    assert (out / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert served.generate(out, CORPUS, "int8")


def run(folder: Path, texts: Path, **arguments: Any) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = [str(word) for name, value in arguments.items() for word in (f"--{name}", value)]
    main(parser.parse_args([str(folder), "--texts", str(texts), "--threads", "1", "--measure", *words]))


def test_the_command_trains_and_says_what_came_of_it(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    run(folders["bert"], texts)
    assert capsys.readouterr().out.startswith("before: int8 gives ")
    run(folders["bert"], texts, out=tmp_path / "out", minutes=0.02, tokens=100)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said if ":" in line][-1] == "after"
    assert "of its answers from before" in said[-2]
    assert load(tmp_path / "out").config.model_type == "bert"
    with pytest.raises(SystemExit, match="stays as it is"):
        run(folders["bert"], texts, out=folders["bert"])
