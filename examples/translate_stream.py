"""Translate lines into Portuguese, in a pipe: `zcat notes.txt.gz | translate_stream.py > notas.txt`.

However long the input is, neither side ever holds all of it: `submit` reads and sends it in chunks, the first of which
are being translated while later ones are still to come, and results are read page by page.
"""

import sys

from textmill import Client


def main() -> int:
    """Prints the translations in the order of the lines. Exit code 1 where a line failed."""
    lines = (line.rstrip("\n") for line in sys.stdin if line.strip())
    failed = 0
    with Client() as mill:
        job = mill.submit("translation", lines, target_lang="pt", priority="high")
        for result in job.results():
            if result.output is not None:
                print(result.output.translation_text)
            else:
                failed += 1
                print(f"line {result.position + 1}: {result.error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
