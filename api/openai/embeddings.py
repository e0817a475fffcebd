"""`/v1/embeddings`: feature extraction."""

import base64
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from api.openai.asked import Asked, Outcome, document, model_of, rest_of, texts_of, usage
from textmill.errors import InvalidRequest

MOST = 2_048
"""Texts of one request, as at OpenAI."""

FORMATS = ("float", "base64")


class Embeddings:
    """A text, or several, and a vector for each."""

    def read(self, body: Mapping[str, Any]) -> Asked:
        """`input`, `model`, `dimensions`, `encoding_format`; also the task's own options."""
        options = rest_of(body, frozenset({"model", "input", "encoding_format"}), {})
        form = body.get("encoding_format") or FORMATS[0]
        if form not in FORMATS:
            raise InvalidRequest(f"encoding_format: one of {', '.join(FORMATS)}", param="encoding_format")
        texts = texts_of(body.get("input"), "input", MOST)
        documents = [document(text=text) for text in texts]
        return Asked("feature-extraction", model_of(body), options, documents, {"encoding_format": form})

    def answer(self, outcomes: Sequence[Outcome], form: Mapping[str, str], name: str) -> dict[str, Any]:
        """A list of vectors, in the order of the texts."""
        encode = _base64 if form.get("encoding_format") == "base64" else list
        data = [
            {"object": "embedding", "index": index, "embedding": encode((outcome.output or {})["embedding"])}
            for index, outcome in enumerate(outcomes)
        ]
        return {"object": "list", "data": data, "model": outcomes[0].model, "usage": usage(outcomes, generated=False)}


def _base64(vector: Sequence[float]) -> str:
    """32 bits a number, the low byte first: what OpenAI's client asks for where it can."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
