"""Weights in int8: no CPU cuts off what two neighbours add up to."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.training import served
from models.training.quantize import load
from tests.unit import encoders_from_config, models_from_config
from workers.backends.ctranslate2.quantization import scales
from workers.kinds import Kind

ACTIVATION = 255
"""The largest, moved by 128 to be without a sign."""


def integers(weight: Tensor) -> Tensor:
    return (weight * scales(weight)[:, None]).round()


@pytest.mark.parametrize("columns", [1, 7, 64])
def test_two_neighbours_stay_within_sixteen_bits(columns: int) -> None:
    torch.manual_seed(1)
    drawn = torch.randn(400, columns)
    for weight in (drawn, drawn.abs(), -drawn.abs(), torch.ones(3, columns), torch.full((3, columns), 0.499)):
        found = integers(weight)
        assert found.abs().max() <= 127
        even = found[:, : columns // 2 * 2].unflatten(1, (-1, 2))
        assert ACTIVATION * even.clamp(min=0).sum(2).max() < 2**15 if columns > 1 else True
        assert ACTIVATION * even.clamp(max=0).sum(2).min() >= -(2**15) if columns > 1 else True


def test_the_scale_is_as_large_as_it_can_be() -> None:
    weight = torch.tensor([[1.0, -0.5, 0.25, 0.5], [1.0, 0.5, 0.0, -0.1], [0.0, 0.0, 0.0, 0.0]])
    assert scales(weight).tolist() == pytest.approx([127.0, 127 / 1.5, 1.0])
    assert integers(torch.full((1, 4), 1e-40)).isfinite().all()


def test_weights_that_would_be_cut_off_are_not(tmp_path: Path) -> None:
    # All of one size: with a scale of 127 the products of every two neighbours would lie beyond 16 bits.
    folder = encoders_from_config.save("bert", "ForTokenClassification", tmp_path)
    model = load(folder)
    with torch.no_grad():
        for layer in model.base_model.encoder.layer:
            weight = layer.intermediate.dense.weight
            weight.copy_(weight.sign().repeat_interleave(2, dim=1)[:, : weight.shape[1]] * 0.5)
    model.save_pretrained(folder)
    text = models_from_config.CORPUS[0]
    tokenizer = models_from_config._word_piece()
    ids = tokenizer(text)["input_ids"]
    found = torch.from_numpy(served.opened(folder, Kind.TOKEN_SCORES, "int8").states([ids])[0])
    with torch.inference_mode():
        wanted = model.base_model(torch.tensor([ids])).last_hidden_state[0]
    assert (found - wanted).norm() / wanted.norm() < 0.05
