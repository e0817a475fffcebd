"""transformers' token-classification pipeline: texts in, entities out. It cuts what is longer than the model takes."""

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from benchmarks.work import Answers, Work


class Pipeline:
    """`batch`: texts of one pass, as they come (it does not sort)."""

    def __init__(self, work: Work, batch: int = 1) -> None:
        torch.set_num_threads(1)
        model = AutoModelForTokenClassification.from_pretrained(work.folder, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(work.folder, model_max_length=model.config.max_position_embeddings)
        self._pipeline = pipeline(
            "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple", batch_size=batch
        )
        self._texts = work.texts

    def run(self) -> Answers:
        """Its answers are entities and not labels: there is nothing to compare them with row by row."""
        self._pipeline(self._texts)
        return []


SIDE = Pipeline
