"""CTranslate2's converted checkpoints on disk: made once, whole or not at all, again where they were damaged; and what
is torch's because it cannot be converted or run."""

import json
import logging
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit import models_from_config
from tests.unit.runners import model_of, opened
from textmill.errors import ModelUnavailable
from workers.runner import ModelRunner

ROOT = Path(__file__).parents[3]
CONVERTED = "workers.backends.ctranslate2.conversion"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models_from_config.save_seq2seq("t5", tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def summarizer(folder: Path, cache: Path, **fields: Any) -> ModelRunner:
    return opened(folder, "summarization", cache_dir=cache, **fields)


def made(cache: Path) -> list[Path]:
    """Whatever lies there beside the locks."""
    return sorted(path for path in (cache / "ctranslate2").iterdir() if path.suffix != ".lock")


def conversions(caplog: pytest.LogCaptureFixture) -> int:
    return sum("converting" in record.message for record in caplog.records if record.name == CONVERTED)


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def runs(runner: ModelRunner) -> bool:
    runner.load()
    try:
        return len(runner.run([runner.canary()])) == 1
    finally:
        runner.unload()


def test_a_checkpoint_is_converted_once_for_each_number_format(
    checkpoint: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        assert runs(summarizer(checkpoint, cache))
    assert conversions(caplog) == 1
    smaller = summarizer(checkpoint, cache, dtype="int8")
    assert (smaller.backend.name, smaller.dtype) == ("ctranslate2", "int8")
    assert runs(smaller)
    assert conversions(caplog) == 2
    assert len(made(cache)) == 2


def test_another_checkpoint_of_the_same_name_is_another_conversion(
    checkpoint: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summarizer(checkpoint, cache)
    changed = Path(shutil.copytree(checkpoint, tmp_path / "changed"))
    settings = json.loads((changed / "generation_config.json").read_text())
    (changed / "generation_config.json").write_text(json.dumps(settings | {"max_length": 9}))
    assert summarizer(changed, cache).revision != summarizer(checkpoint, cache).revision
    assert conversions(caplog) == 2


def cut(folder: Path) -> None:
    weights = folder / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-100])


def flip(folder: Path) -> None:
    content = bytearray((folder / "model.bin").read_bytes())
    content[-200] ^= 0xFF
    (folder / "model.bin").write_bytes(content)


def lose(folder: Path) -> None:
    (folder / "config.json").unlink()


def empty(folder: Path) -> None:
    (folder / "manifest.json").write_text("")


@pytest.mark.parametrize("damage", [cut, flip, lose, empty])
def test_a_damaged_conversion_is_made_again(
    checkpoint: Path, cache: Path, caplog: pytest.LogCaptureFixture, damage: Any
) -> None:
    summarizer(checkpoint, cache)
    [folder] = made(cache)
    damage(folder)
    assert runs(summarizer(checkpoint, cache))
    assert conversions(caplog) == 2
    assert "damaged" in caplog.text


def test_what_a_process_left_half_done_is_cleared_away(checkpoint: Path, cache: Path) -> None:
    folder = model_of(summarizer(checkpoint, cache))._converted.conversion.folder
    half = folder.rename(folder.with_name(f"{folder.name}.part"))
    (half / "manifest.json").unlink()
    assert runs(summarizer(checkpoint, cache))
    assert made(cache) == [folder]


def test_one_that_goes_after_the_model_was_opened_is_made_again_when_it_loads(checkpoint: Path, cache: Path) -> None:
    runner = summarizer(checkpoint, cache)
    shutil.rmtree(cache)
    assert runs(runner)


def test_without_conversion_and_checkpoint_the_model_is_unavailable(
    checkpoint: Path, cache: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(checkpoint, tmp_path / "moved"))
    runner = summarizer(moved, cache)
    shutil.rmtree(cache)
    (moved / "model.safetensors").unlink()
    with pytest.raises(ModelUnavailable, match=str(moved)):
        runner.load()
    assert runner.memory_bytes() == 0


OPEN = """
import logging, sys
from pathlib import Path
logging.basicConfig(level=logging.INFO)
from tests.unit.runners import opened
sys.stdin.readline()
runner = opened(Path(sys.argv[1]), "summarization", cache_dir=Path(sys.argv[2]))
runner.load()
print(runner.backend.name, len(runner.run([runner.canary()])))
"""


def test_two_processes_that_start_at_once_convert_once(checkpoint: Path, cache: Path) -> None:
    command = [sys.executable, "-c", OPEN, str(checkpoint), str(cache)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(2)]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=200) for process in processes]
    assert [out.strip() for out, _ in ended] == ["ctranslate2 1"] * 2, ended
    assert sum(err.count("converting") for _, err in ended) == 1
    assert len(made(cache)) == 1


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond what the settings of a conversion take: the weights are not written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("backend", ["auto", "ctranslate2"])
def test_where_a_conversion_cannot_be_written_torch_goes_on(
    checkpoint: Path, cache: Path, caplog: pytest.LogCaptureFixture, small_files: None, backend: str
) -> None:
    runner = summarizer(checkpoint, cache, backend=backend)
    assert (runner.backend.name, runner.dtype) == ("torch", "float32")
    assert runs(runner)
    assert made(cache) == []
    assert f"its conversion cannot be written to {cache / 'ctranslate2'}: File too large" in caplog.text


@pytest.mark.usefixtures("small_files")
def test_where_it_cannot_be_written_again_the_load_says_so(checkpoint: Path, cache: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    runner = summarizer(checkpoint, cache)
    shutil.rmtree(cache)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(ModelUnavailable, match="cannot be written"):
        runner.load()


# --- what is torch's --------------------------------------------------------------------------------------------------


def test_an_architecture_that_it_does_not_know_is_run_by_torch(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = models_from_config.save_ner("electra", tmp_path)
    runner = opened(folder, "ner", cache_dir=cache, backend="ctranslate2", dtype="int8")
    assert (runner.backend.name, runner.dtype) == ("torch", "float32")
    assert "run by torch, not ctranslate2: it does not know the architecture electra" in caplog.text
    assert not cache.exists()


@pytest.mark.parametrize(
    ("file", "field", "value", "reason"),
    [
        ("generation_config.json", "eos_token_id", [1, 5], "one end token"),
        ("generation_config.json", "encoder_no_repeat_ngram_size", 2, "encoder_no_repeat_ngram_size"),
        ("generation_config.json", "suppress_tokens", [7], "suppress_tokens"),
        ("generation_config.json", "bad_words_ids", [[7, 8]], "several tokens"),
        ("config.json", "layer_norm_epsilon", 1e-3, "layer_norm_epsilon"),
        ("config.json", "feed_forward_proj", "gelu_10", "activation"),
    ],
)
def test_settings_of_a_checkpoint_that_it_does_not_know_make_the_model_torchs(
    checkpoint: Path, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    file: str, field: str, value: Any, reason: str,
) -> None:  # fmt: skip
    folder = Path(shutil.copytree(checkpoint, tmp_path / "changed"))
    settings = json.loads((folder / file).read_text())
    settings.pop("dense_act_fn", None)  # follows from feed_forward_proj
    (folder / file).write_text(json.dumps(settings | {field: value}))
    runner = summarizer(folder, cache)
    assert runner.backend.name == "torch"
    assert reason in caplog.text
    assert runner.stand_in is None


def test_a_number_format_that_it_lacks_is_torchs_and_int8_is_its_own(checkpoint: Path, cache: Path) -> None:
    assert summarizer(checkpoint, cache, dtype="bfloat16", device="cpu").backend.name == "torch"
    with pytest.raises(ModelUnavailable, match="ctranslate2 cannot run it: it has no bfloat16 on a CPU"):
        summarizer(checkpoint, cache, dtype="bfloat16", device="cpu", backend="ctranslate2")
    with pytest.raises(ModelUnavailable, match="torch cannot run it: it has no int8"):
        summarizer(checkpoint, cache, dtype="int8", backend="torch")


def test_on_a_gpu_it_has_to_be_asked_for_by_name(checkpoint: Path, cache: Path) -> None:
    with pytest.raises(ModelUnavailable, match="CUDA devices"):  # torch's refusal, which `auto` came to
        summarizer(checkpoint, cache, device="cuda:99")
    with pytest.raises(ModelUnavailable, match="CTranslate2 sees"):
        summarizer(checkpoint, cache, device="cuda:99", backend="ctranslate2")
