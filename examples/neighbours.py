"""Which of the example documents are nearest to a text: `neighbours.py "a library for reading images"`.

Needs a model for feature-extraction (`all-minilm-l6-v2` of the catalogue, or its package): docs/models.md.
"""

import sys
from pathlib import Path

from textmill import Client

DOCUMENTS = Path(__file__).parent / "documents.jsonl.gz"
SHOWN = 10


def main(text: str) -> int:
    """The ids of the nearest, with their cosines. Exit code 1 where a document failed."""
    with Client() as mill:
        wanted = mill.embed(text, normalize=True)
        job = mill.submit("feature-extraction", [DOCUMENTS], normalize=True)
        found = []
        for result in job.results():
            if result.output is None:
                print(f"{result.id}: {result.error}", file=sys.stderr)
                continue
            cosine = sum(a * b for a, b in zip(wanted, result.output.embedding, strict=True))
            found.append((cosine, result.id))
        for cosine, name in sorted(found, reverse=True)[:SHOWN]:
            print(f"{cosine:.3f}\t{name}")
        return 0 if job.refresh().state == "completed" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
