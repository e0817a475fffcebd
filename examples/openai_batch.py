"""A file of lines through a batch, with OpenAI's client: `openai_batch.py ner reports.txt answers.jsonl`.

Any task by its name: summarization, ner, ... Needs the package `openai`.
"""

import json
import os
import sys
import time
from pathlib import Path

from openai import OpenAI

ENDED = ("completed", "failed", "expired", "cancelled")


def main(task: str, source: str, target: str) -> int:
    """Each line is a request, with its number as its id. Exit code 1 where one failed."""
    url = f"/v1/{task}"
    texts = Path(source).read_text(encoding="utf-8").splitlines()
    lines = [
        json.dumps({"custom_id": str(number), "method": "POST", "url": url, "body": {"input": text}})
        for number, text in enumerate(texts, start=1)
    ]
    with OpenAI(base_url=f"{os.environ['TEXTMILL_URL']}/openai/v1", api_key=os.environ["TEXTMILL_API_KEY"]) as client:
        file = client.files.create(file=("requests.jsonl", "\n".join(lines).encode()), purpose="batch")
        # The client's types know OpenAI's endpoints alone; it sends any.
        batch = client.batches.create(input_file_id=file.id, endpoint=url, completion_window="24h")  # type: ignore[arg-type]
        while batch.status not in ENDED:
            time.sleep(1)
            batch = client.batches.retrieve(batch.id)
        print(batch.status, batch.request_counts, file=sys.stderr)
        if batch.output_file_id:
            client.files.content(batch.output_file_id).write_to_file(target)
        if batch.error_file_id:
            print(client.files.content(batch.error_file_id).text, file=sys.stderr)
        return 0 if batch.status == "completed" and not batch.error_file_id else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
