"""A text, gone on with: `echo "The history of the project begins" | go_on.py`.

Needs a model for text-generation (`smollm2-360m-instruct` of the catalogue): docs/models.md.
"""

import sys

from textmill import Client


def main() -> int:
    """The text, and what follows."""
    text = sys.stdin.read().rstrip("\n")
    with Client() as mill:
        print(text + mill.generate(text, max_new_tokens=60, no_repeat_ngram_size=3))
    return 0


if __name__ == "__main__":
    sys.exit(main())
