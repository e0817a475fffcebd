"""An assistant's reply to each line: `reply.py < questions.txt`.

Needs a model for text-generation whose tokenizer has a chat template (`smollm2-360m-instruct` of the catalogue):
docs/models.md.
"""

import sys

from textmill import Client

MANNERS = {"role": "system", "content": "You answer in one short sentence."}


def main() -> int:
    """A conversation a line, and what the assistant says next."""
    conversations = ({"messages": [MANNERS, {"role": "user", "content": line.strip()}]} for line in sys.stdin)
    with Client() as mill:
        job = mill.submit("text-generation", conversations, max_new_tokens=60)
        for result in job.results():
            print(result.output.generated_text.strip() if result.output else f"({result.error})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
