"""A program for the Inference API of `huggingface_hub`, asked of Textmill: lines in, their entities out.

Two arguments of InferenceClient are all that tells it where to ask. Needs `huggingface_hub`.
"""

import os
import sys

from huggingface_hub import InferenceClient


def main(model: str = "ner-en-small") -> None:
    """A line of tabs for each entity: the line's number, label, score, name."""
    url = f"{os.environ['TEXTMILL_URL']}/hf/{model}"
    client = InferenceClient(base_url=url, api_key=os.environ["TEXTMILL_API_KEY"])
    for number, line in enumerate(sys.stdin, start=1):
        for entity in client.token_classification(line):
            print(number, entity.entity_group, f"{entity.score:.3f}", entity.word, sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
