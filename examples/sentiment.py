"""Lines in, each with its likeliest label in front: `sentiment.py < reviews.txt`.

Needs a model for text-classification (`distilbert-sst-2` of the catalogue): docs/models.md.
"""

import sys

from textmill import Client


def main() -> int:
    """Exit code 1 where a line failed."""
    with Client() as mill:
        lines = [line.rstrip("\n") for line in sys.stdin]
        job = mill.submit("text-classification", lines)
        for line, result in zip(lines, job.results(), strict=True):
            if result.output is None:
                print(f"{result.id}: {result.error}", file=sys.stderr)
                continue
            best = result.output.labels[0]
            print(f"{best.label} {best.score:.3f}\t{line}")
        return 0 if job.refresh().state == "completed" else 1


if __name__ == "__main__":
    sys.exit(main())
