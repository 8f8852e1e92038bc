"""Receives the events of a webhook, and prints them: WEBHOOK_SECRET=whsec_... python webhook_receiver.py. With standardwebhooks.

The registry sends to this machine only with `registry-server --webhook-allow 127.0.0.0/8`.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            # Also refuses what is older than five minutes: somebody may send again what they saw.
            message = webhook.verify(body, {name.lower(): value for name, value in self.headers.items()})
        except WebhookVerificationError:
            self.send_response(401)
        else:
            # An event may come twice: the header webhook-id tells.
            print(message["timestamp"], message["type"], message["data"].get("resourceName"), flush=True)
            # Whatever is not 2xx comes again.
            self.send_response(204)
        self.end_headers()


with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8080), Handler) as server:
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
