"""The example documents under labels of your own: `topics.py hardware software people > topics.tsv`.

Needs a model for zero-shot-classification (`bart-large-mnli` of the catalogue): docs/models.md.
"""

import sys
from pathlib import Path

from textmill import Client

DOCUMENTS = Path(__file__).parent / "documents.jsonl.gz"


def main(labels: list[str]) -> int:
    """A document a line: its id, then each label with its score, best first. Exit code 1 where one failed."""
    with Client() as mill:
        about = "This text is about {}."
        job = mill.submit(
            "zero-shot-classification",
            [DOCUMENTS],
            candidate_labels=labels,
            hypothesis_template=about,
            multi_label=True,
        )
        for result in job.results():
            if result.output is None:
                print(f"{result.id}: {result.error}", file=sys.stderr)
                continue
            print(result.id, *(f"{label.label} {label.score:.3f}" for label in result.output.labels), sep="\t")
        return 0 if job.refresh().state == "completed" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
