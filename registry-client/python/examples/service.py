"""Scores rows with the model in production: python service.py, then curl -d '[[17.9, ...]]' 127.0.0.1:PORT. With scikit-learn."""

import json
import pickle
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from modelregistry import Registry

with Registry.connect() as registry, registry.follow(
    "breast-cancer@production", load=lambda folder, version: pickle.loads((folder / "model.pkl").read_bytes()),
    check=lambda model: model.predict([[0.0] * model.n_features_in_]),
) as follower:

    class Handler(BaseHTTPRequestHandler):  # noqa: D101
        def do_POST(self) -> None:  # noqa: D102
            served = follower.current()
            scores = served.model.predict(json.loads(self.rfile.read(int(self.headers["content-length"])))).tolist()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"by": served.version.name, "scores": scores}).encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"listening on {server.server_port}", flush=True)
        server.serve_forever()
