"""Scores rows with the model in production: python service.py, then curl -d '[[17.9, ...]]' 127.0.0.1:PORT. With scikit-learn."""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pickle import loads

from modelregistry import Registry

# Told to stop, it says goodbye to the registry.
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
follower = Registry.connect().follow("breast-cancer@production", lambda folder, _: loads((folder / "model.pkl").read_bytes()), wait=True)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        served = follower.current()
        scores = served.model.predict(json.loads(self.rfile.read(int(self.headers["content-length"])))).tolist()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"by": served.version.name, "scores": scores}).encode())


with follower, ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
