"""The words that fit into a gap: `missing_word.py "The library is [MASK]."`

Needs a model for fill-mask (`distilroberta-base` of the catalogue): docs/models.md.
"""

import sys

from textmill import Client


def main(text: str) -> int:
    """A word a line, with its score."""
    with Client() as mill:
        for mask in mill.fill(text, top_k=10):
            for word in mask:
                print(f"{word.score:.3f}\t{word.token_str.strip()}\t{word.sequence}")
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
