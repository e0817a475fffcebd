"""Is told when jobs end: `WEBHOOK_SECRET=whsec_... webhook_receiver.py 8080`, then `textmill submit ... --webhook URL`.

The secret is what `textmill webhooks rotate` printed. Needs the package `standardwebhooks`. A webhook comes at least
once: what is done for one is done once for each `webhook-id`.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

WEBHOOK = Webhook(os.environ["WEBHOOK_SECRET"])

seen: set[str] = set()
"""In a database, where a restart is not to forget it."""


class Receiver(BaseHTTPRequestHandler):
    """Checks each request, answers, and prints which job has ended."""

    def do_POST(self) -> None:
        """204 for what is genuine, again and again; 400 for anything else."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            # The body as it came: parsed and written again, it would not fit its signature.
            WEBHOOK.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.answer(400)
            return
        message, job = self.headers["webhook-id"], json.loads(body)["data"]
        if message not in seen:
            seen.add(message)
            counts = job["counts"]
            print(job["id"], job["state"], counts["succeeded"], "of", counts["total"], flush=True)
        self.answer(204)

    def answer(self, status: int) -> None:
        """Without a body."""
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing but what ended."""


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    print(f"listening at http://127.0.0.1:{server.server_address[1]}/", flush=True)
    server.serve_forever()
