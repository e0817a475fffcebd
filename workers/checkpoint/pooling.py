"""How a checkpoint wants its tokens' vectors made one: what the files of the sentence-transformers library say."""

import json
from typing import Any

from transformers.utils.hub import cached_file

from textmill.errors import ModelUnavailable
from workers.checkpoint.checkpoint import Checkpoint
from workers.kinds import Embedding, Pooling

_MODES: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}


def of(checkpoint: Checkpoint) -> tuple[Embedding, int | None]:
    """The pooling, and the most tokens that it was made for (None: not said).

    A checkpoint without such files is pooled by the mean. Raises ModelUnavailable for one that needs more than a
    pooling and a normalization, since its vectors would be others than it promises.
    """
    longest = _read(checkpoint, "sentence_bert_config.json") or {}
    modules = _read(checkpoint, "modules.json")
    if modules is None:
        return Embedding(), longest.get("max_seq_length")
    kinds = {str(module["type"]).rsplit(".", 1)[-1]: str(module["path"]) for module in modules}
    if unknown := sorted(kinds.keys() - {"Transformer", "Pooling", "Normalize"}):
        raise ModelUnavailable(
            f"{checkpoint.source} has a {unknown[0]} layer after its encoder, which is not supported"
        )
    settings = _read(checkpoint, f"{kinds.get('Pooling', '1_Pooling')}/config.json") or {}
    wanted = [name for name, on in settings.items() if name.startswith("pooling_mode_") and on is True]
    if any(name not in _MODES for name in wanted) or len(wanted) > 1:
        raise ModelUnavailable(f"{checkpoint.source} pools by {', '.join(wanted)}, which is not supported")
    pooling = _MODES[wanted[0]] if wanted else "mean"
    return Embedding(pooling, "Normalize" in kinds), longest.get("max_seq_length")


def _read(checkpoint: Checkpoint, name: str) -> Any:
    """The file's JSON; None where the checkpoint has no such file."""

    def read() -> Any:
        path = cached_file(
            checkpoint.source,
            name,
            **{key: value for key, value in checkpoint.arguments().items() if key != "trust_remote_code"},
            # Without a connection the hub's cache is all there is: `models pull` has fetched what the checkpoint has.
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if path is None:
            return None
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    return checkpoint.read(name, read)
