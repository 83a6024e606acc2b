"""Serves the model over the Open Inference Protocol (version 2, JSON over HTTP)."""

import json
import os
import pathlib
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import joblib

NAME = os.environ["TRIMTAB_MODEL"]
loaded = joblib.load(pathlib.Path(os.environ["TRIMTAB_ARTIFACT"]) / "model.joblib")
model, features = loaded["model"], loaded["features"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.connection.setsockopt(6, 1, True)  # TCP_NODELAY: answers go out at once

    def answer(self, status, document):
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def do_GET(self):
        if self.path in ("/v2/health/ready", "/v2/health/live"):
            self.answer(200, {"ready": True})
        elif self.path == f"/v2/models/{NAME}":
            inputs = [{"name": "input", "datatype": "FP64", "shape": [-1, len(features)]}]
            self.answer(200, {"name": NAME, "platform": "sklearn", "inputs": inputs, "features": features})
        else:
            self.answer(404, {"error": f"no such page: {self.path}"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path != f"/v2/models/{NAME}/infer":
            return self.answer(404, {"error": f"no such page: {self.path}"})
        try:
            tensor = json.loads(body)["inputs"][0]
            rows, width = tensor["shape"]
            data = tensor["data"]
            flat = [v for row in data for v in row] if data and isinstance(data[0], list) else data
            if width != len(features) or len(flat) != rows * width:
                raise ValueError(f"shape must be [n, {len(features)}] and fit the data")
            matrix = [flat[i * width : (i + 1) * width] for i in range(rows)]
            scores = model.predict_proba(matrix)[:, 1].tolist()
        except (KeyError, IndexError, TypeError, ValueError) as error:
            return self.answer(400, {"error": f"bad request: {error}"})
        output = {"name": "probability", "datatype": "FP64", "shape": [len(scores)], "data": scores}
        self.answer(200, {"model_name": NAME, "outputs": [output]})

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
