"""Messages in the place of a text: rendered by the tokenizer's own template, gone on with as `generate()` does."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

from store.model_folder import inspect
from tests.unit import encoders_from_config as made
from tests.unit.models_from_config import DEVICE
from tests.unit.runners import bound, loaded
from textmill import tasks
from textmill.errors import ChatTemplateMissing, DocumentTooLong, MessagesRefused
from workers.runner import ModelRunner

ASKED = [{"role": "user", "content": "Where is the station?"}]
TURNS = [*ASKED, {"role": "assistant", "content": "Behind the park."}, {"role": "user", "content": "Sol?"}]
NEW = 8


@pytest.fixture(scope="module", params=list(made.CHAT_TEMPLATES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    family = request.param
    return made.save_decoder(family, tmp_path_factory.mktemp(family), made.CHAT_TEMPLATES[family])


@pytest.fixture(scope="module")
def runner(folder: Path) -> ModelRunner:
    return loaded(folder, "text-generation", window=256)


@pytest.mark.parametrize("messages", [ASKED, TURNS], ids=["asked", "turns"])
def test_equal_to_the_template_and_generate(runner: ModelRunner, folder: Path, messages: Any) -> None:
    plan = bound(runner, max_new_tokens=NEW)
    prepared = plan.prepare("", {"messages": messages})
    [item] = prepared.items
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    ids = rendered["input_ids"].to(DEVICE)
    assert item.payload == ids[0].tolist(), "nothing is put around what the template has made"
    model = tf.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(DEVICE)
    with torch.inference_mode():
        [expected] = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW, pad_token_id=0
        ).tolist()
    new = expected[len(item.payload) :]
    end = tokenizer.eos_token_id
    [output] = runner.run([item])
    assert list(output.ids) == (new[: new.index(end)] if end in new else new)
    outcome: Any = plan.assemble(prepared, [output])
    assert outcome.input_tokens == len(item.payload)
    assert outcome.output["generated_text"].strip() == tokenizer.decode(output.ids, skip_special_tokens=True).strip()


def test_a_text_is_not_rendered(runner: ModelRunner) -> None:
    plan = bound(runner, max_new_tokens=NEW)
    assert len(plan.prepare("Sol?").items[0].payload) < len(plan.prepare("", {"messages": ASKED}).items[0].payload)


def test_what_fails_alone(folder: Path, runner: ModelRunner, tmp_path: Path) -> None:
    plan = bound(runner, max_new_tokens=NEW)
    with pytest.raises(DocumentTooLong):
        plan.prepare("", {"messages": [{"role": "user", "content": "It rained. " * 200}]})
    plain = loaded(made.save_decoder("gpt2", tmp_path), "text-generation", window=128)
    with pytest.raises(ChatTemplateMissing):
        bound(plain).prepare("", {"messages": ASKED})
    task = tasks.get("text-generation")
    assert inspect(folder, task, 128).chat_template
    assert not inspect(tmp_path, task, 128).chat_template


def test_messages_that_the_template_refuses(tmp_path: Path) -> None:
    llama = loaded(made.save_decoder("llama", tmp_path, made.CHAT_TEMPLATES["llama"]), "text-generation", window=128)
    with pytest.raises(MessagesRefused, match="user and assistant must take turns"):
        bound(llama).prepare("", {"messages": TURNS[1:]})
