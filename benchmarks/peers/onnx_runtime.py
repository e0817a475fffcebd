"""ONNX Runtime on the exported network, in float32 or with dynamic int8 weights; rows sorted by length."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModelForTokenClassification

from benchmarks.work import Answers, Work


class Onnx:
    """`batch`: rows of one pass."""

    def __init__(self, work: Work, dtype: str = "float32", batch: int = 16) -> None:
        self._rows = work.rows
        self._batch = batch
        path = _exported(work.folder, Path(tempfile.mkdtemp()))
        if dtype == "int8":
            quantize_dynamic(path, path.with_name("int8.onnx"), weight_type=QuantType.QInt8)
            path = path.with_name("int8.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self) -> Answers:
        """The best label of each token."""
        answers: Answers = [[] for _ in self._rows]
        order = sorted(range(len(self._rows)), key=lambda at: -len(self._rows[at]))
        for start in range(0, len(order), self._batch):
            places = order[start : start + self._batch]
            rows = [self._rows[at] for at in places]
            ids = np.zeros((len(rows), len(rows[0])), np.int64)
            mask = np.zeros_like(ids)
            for at, row in enumerate(rows):
                ids[at, : len(row)], mask[at, : len(row)] = row, 1
            [scores] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
            for at, row, labels in zip(places, rows, scores.argmax(-1), strict=True):
                answers[at] = labels[1 : len(row) - 1].tolist()
        return answers


def _exported(checkpoint: str, folder: Path) -> Path:
    model = AutoModelForTokenClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    example = torch.ones(2, 16, dtype=torch.int64)
    path = folder / "model.onnx"
    rows, tokens = torch.export.Dim("rows"), torch.export.Dim("tokens")
    shapes: Any = {"input_ids": {0: rows, 1: tokens}, "attention_mask": {0: rows, 1: tokens}}
    torch.onnx.export(
        model, kwargs={"input_ids": example, "attention_mask": example}, f=path, dynamo=True, dynamic_shapes=shapes
    )
    return path


SIDE = Onnx
