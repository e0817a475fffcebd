"""What each of some files answers to a question: `answers.py "Who wrote it?" examples/long/*.txt`.

Needs a model for question-answering (`roberta-base-squad2` of the catalogue): docs/models.md.
"""

import sys
from pathlib import Path

from textmill import Client


def main(question: str, paths: list[Path]) -> int:
    """A file a line, with its best answer and where it stands. Exit code 1 where a file failed."""
    with Client() as mill:
        # One question for all; a document may have its own: {"text": ..., "question": ...}
        job = mill.submit("question-answering", paths, question=question, handle_impossible_answer=True)
        for result in job.results():
            if result.output is None:
                print(f"{result.id}: {result.error}", file=sys.stderr)
                continue
            for answer in result.output.answers:
                print(result.id, f"{answer.start}-{answer.end}", f"{answer.score:.3f}", answer.answer or "-", sep="\t")
        return 0 if job.refresh().state == "completed" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], [Path(name) for name in sys.argv[2:]]))
