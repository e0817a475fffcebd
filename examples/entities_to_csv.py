"""Named entities of a folder of text files, as CSV: `entities_to_csv.py examples/long > entities.csv`."""

import csv
import sys
from pathlib import Path

from textmill import Client


def main(folder: Path) -> int:
    """One line an entity. Exit code 1 where a document failed."""
    paths = sorted(folder.glob("**/*.txt"))
    texts = ((str(path.relative_to(folder)), path.read_text(encoding="utf-8")) for path in paths)
    rows = csv.writer(sys.stdout)
    rows.writerow(["file", "label", "entity", "score", "start", "end"])
    with Client() as mill:
        job = mill.submit("ner", texts, min_score=0.8)
        for result in job.results():  # each document's as soon as it and those before it are done
            if result.output is None or result.output.entities is None:
                print(f"{result.id}: {result.error}", file=sys.stderr)
                continue
            for entity in result.output.entities:
                rows.writerow([result.id, entity.entity_group, entity.word, entity.score, entity.start, entity.end])
        return 0 if job.refresh().state == "completed" else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
