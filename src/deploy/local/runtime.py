"""Serves a `predict` function, or a model that MLflow saved, over the Open Inference Protocol V2 and MLflow's /invocations.

trimtab starts it as a replica of `runtime = "python"` or `"mlflow"`; it needs nothing but the standard library.
"""

import fcntl
import importlib
import inspect
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGEST_BODY = 64 << 20
# Of a body that was refused, so much is read, for so many seconds, until the client has seen its answer.
LINGER_BYTES, LINGER_SECONDS = 16 << 20, 2
MOST_TRAILERS = 100
NAME, VERSION = os.environ.get("TRIMTAB_MODEL", "model"), os.environ.get("TRIMTAB_VERSION", "")
ARTIFACT = os.environ.get("TRIMTAB_ARTIFACT", ".")
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class Refused(Exception):
    """An answer that is an error: its status and why."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def plain(value):
    """Predictions as JSON has them: frames as records, arrays as lists, what is no finite number as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, dict):
        return {str(plain(k)): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return plain(value.to_dict(orient="records"))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"predict returned {type(value).__name__}, which is no JSON")


def parse(body):
    """A JSON object."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise Refused(400, f"the body is no JSON: {e}")
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object")
    return value


def shape_of(value):
    """Sizes of nested lists; None when they are not even."""
    if not isinstance(value, list):
        return []
    inner = [shape_of(v) for v in value]
    if any(i is None or i != inner[0] for i in inner):
        return None
    return [len(value)] + (inner[0] if inner else [])


def flat(value):
    return [x for v in value for x in flat(v)] if isinstance(value, list) else [value]


def nested(values, shape):
    """Flat values, nested as a shape says."""
    for size in reversed(shape[1:]):
        values = [values[i : i + size] for i in range(0, len(values), size)]
    return values


GOOD = {
    "BOOL": lambda v: isinstance(v, bool),
    "BYTES": lambda v: isinstance(v, str),
    "FP": lambda v: v is None or isinstance(v, (int, float)) and not isinstance(v, bool),
    "INT": lambda v: isinstance(v, int) and not isinstance(v, bool),
}


def tensor(entry):
    """The name and nested values of an input of V2."""
    try:
        name, shape, kind, data = entry["name"], entry["shape"], entry["datatype"], entry["data"]
    except (KeyError, TypeError):
        raise Refused(400, "an input needs `name`, `shape`, `datatype` and `data`")
    whole = lambda n: isinstance(n, int) and not isinstance(n, bool) and n >= 0
    if not isinstance(name, str) or not isinstance(kind, str) or not isinstance(data, list):
        raise Refused(400, "of an input, `name` and `datatype` are texts and `data` is a list")
    if not isinstance(shape, list) or not shape or not all(whole(n) for n in shape):
        raise Refused(400, f"input `{name}`: shape {shape} is no list of sizes")
    good = GOOD.get(kind.replace("UINT", "INT").rstrip("0123456789"))
    if good is None:
        raise Refused(400, f"input `{name}`: datatype {kind} is unknown")
    if shape_of(data) not in ([math.prod(shape)], shape):
        raise Refused(400, f"input `{name}`: the data is not of shape {shape}")
    values = flat(data)
    if not all(good(v) for v in values):
        raise Refused(400, f"input `{name}`: the data is not all {kind}")
    if kind.startswith("FP"):
        values = [math.nan if v is None else v for v in values]
    return name, nested(values, shape) if 0 not in shape else []


def outputs_of(predictions):
    """Predictions as outputs of V2: one for each key of a dict or of records, else one."""
    if isinstance(predictions, list) and predictions and all(isinstance(p, dict) for p in predictions):
        predictions = {k: [p.get(k) for p in predictions] for k in predictions[0]}
    named = predictions if isinstance(predictions, dict) else {"predict": predictions}
    outputs = []
    for name, value in named.items():
        shape = shape_of(value) if isinstance(value, list) else [1]
        values = flat(value if isinstance(value, list) else [value])
        if shape is None:
            raise TypeError(f"output `{name}` is nested unevenly")
        if all(isinstance(v, bool) for v in values):
            kind = "BOOL"
        elif all(isinstance(v, int) for v in values):
            kind = "INT64"
        elif all(v is None or isinstance(v, (int, float)) for v in values):
            kind = "FP64"
        else:
            kind, values = "BYTES", [v if isinstance(v, str) else json.dumps(v) for v in values]
        outputs.append({"name": name, "shape": shape, "datatype": kind, "data": values})
    return outputs


class Python:
    """`predict = "module:function"`: it gets rows, and `params` when it takes two arguments."""

    def __init__(self, settings):
        module, _, function = settings["predict"].partition(":")
        self.function = getattr(importlib.import_module(module), function)
        try:
            self.takes_params = len(inspect.signature(self.function).parameters) > 1
        except ValueError:
            self.takes_params = False
        self.metadata = {"platform": "python", "inputs": [], "outputs": []}

    def predict(self, rows, params=None):
        return plain(self.function(rows, params or {}) if self.takes_params else self.function(rows))

    def infer(self, inputs):
        return self.predict(next(iter(inputs.values())) if len(inputs) == 1 else inputs)

    def invoke(self, body, content_type):
        if content_type.split(";")[0].strip() != "application/json":
            raise Refused(415, "the content type must be application/json")
        call = parse(body)
        params = call.pop("params", None)
        if len(call) != 1 or next(iter(call)) not in FORMS:
            raise Refused(400, f"the body must have exactly one of {', '.join(FORMS)}, and may have `params`")
        form, value = next(iter(call.items()))
        if form == "dataframe_split":
            columns, data = (value.get("columns"), value.get("data")) if isinstance(value, dict) else (None, None)
            if not isinstance(columns, list) or not isinstance(data, list):
                raise Refused(400, "`dataframe_split` needs `columns` and `data`")
            if any(not isinstance(row, list) or len(row) != len(columns) for row in data):
                raise Refused(400, f"every row of `dataframe_split` must have {len(columns)} values")
            value = [{str(c): v for c, v in zip(columns, row)} for row in data]
        if form == "dataframe_records" and not (isinstance(value, list) and all(isinstance(r, dict) for r in value)):
            raise Refused(400, "`dataframe_records` must be a list of objects")
        return json.dumps({"predictions": self.predict(value, params)})


class Mlflow:
    """A model that MLflow saved, called as MLflow's own scoring server calls it."""

    def __init__(self, settings):
        try:
            import mlflow.pyfunc
            from mlflow.pyfunc import scoring_server
        except ImportError as e:
            raise SystemExit(f"{e}: runtime = \"mlflow\" needs mlflow among the model's requirements")
        self.server = scoring_server
        self.model = mlflow.pyfunc.load_model(self.find(settings.get("file")))
        self.schema = self.model.metadata.get_input_schema()
        describe = lambda schema: [self.port(spec, i) for i, spec in enumerate(schema.inputs)] if schema else []
        self.metadata = {
            "platform": "mlflow",
            "inputs": describe(self.schema),
            "outputs": describe(self.model.metadata.get_output_schema()),
        }

    @staticmethod
    def find(named):
        if named:
            return os.path.join(ARTIFACT, named)
        found = sorted(folder for folder, _, files in os.walk(ARTIFACT) if "MLmodel" in files)
        if len(found) != 1:
            raise SystemExit(f"there are {len(found)} folders with a file MLmodel in the artifact: say which by `file`")
        return found[0]

    KINDS = {
        "boolean": "BOOL", "bool": "BOOL", "integer": "INT32", "int32": "INT32", "long": "INT64", "int64": "INT64",
        "float": "FP32", "float32": "FP32", "double": "FP64", "float64": "FP64",
    }

    def port(self, spec, i):
        kind = str(getattr(spec.type, "name", spec.type))
        shape = [int(d) for d in getattr(spec, "shape", (-1,))]
        return {"name": spec.name or str(i), "datatype": self.KINDS.get(kind, "BYTES"), "shape": shape}

    def infer(self, inputs):
        import numpy
        import pandas

        arrays = {name: numpy.array(values) for name, values in inputs.items()}
        columns = self.schema.input_names() if self.schema and not self.schema.is_tensor_spec() else []
        if len(arrays) == 1:
            (data,) = arrays.values()
            if columns and data.ndim == 2 and data.shape[1] == len(columns):
                data = pandas.DataFrame(data, columns=columns)
        elif self.schema and self.schema.is_tensor_spec():
            data = arrays
        else:
            data = pandas.DataFrame({name: a.reshape(len(a)) for name, a in arrays.items()})
        return plain(self.model.predict(data))

    def invoke(self, body, content_type):
        answer = self.server.invocations(body.decode(), content_type, self.model, self.schema)
        if answer.status != 200:
            raise Refused(answer.status, answer.response)
        return answer.response


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 75
    # One packet an answer.
    wbufsize = -1
    disable_nagle_algorithm = True
    model = None
    # Whether there are bytes of a body that nobody will read.
    unread = False

    def do_GET(self):
        if self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers:
            # What stands in a body would be taken for the next request.
            self.close_connection = self.unread = True
        self.answered(self.get)

    def do_POST(self):
        self.answered(self.post)

    def answered(self, how):
        path = self.path.split("?")[0]
        try:
            status, kind, text = 200, "application/json", how(path)
        except Exception as e:
            status, message = self.judge(e)
            old = path == "/invocations"
            code = "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR"
            text = json.dumps({"error_code": code, "message": message} if old else {"error": message})
            kind = "application/json"
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)
        if self.unread:
            self.linger()

    def handle_expect_100(self):
        # Who asks first is not told to send what will be refused.
        try:
            self.length()
        except Refused:
            return True
        return super().handle_expect_100()

    def linger(self):
        """Reads on for a little: a client that still writes when the connection is closed would be told of that instead of reading its answer."""
        self.wfile.flush()
        until, left = time.monotonic() + LINGER_SECONDS, LINGER_BYTES
        try:
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (wait := until - time.monotonic()) > 0:
                self.connection.settimeout(wait)
                got = len(self.connection.recv(min(left, 1 << 16)))
                if got == 0:
                    break
                left -= got
        except OSError:
            # It went away.
            pass

    def judge(self, e):
        """Whether the request or the model is to blame."""
        if isinstance(e, Refused):
            return e.status, str(e)
        status = getattr(e, "get_http_status_code", lambda: 400 if isinstance(e, ValueError) else 500)()
        if status >= 500:
            import traceback

            traceback.print_exc()
        return status, f"{type(e).__name__}: {e}"

    def get(self, path):
        known = {
            "/v2/health/live": {"live": True},
            "/v2/health/ready": {"ready": True},
            "/v2": {"name": "trimtab", "version": VERSION, "extensions": []},
        }
        if path in known:
            return json.dumps(known[path])
        if path in ("/ping", "/health"):
            return "\n"
        verb = self.verb(path)
        if verb == "":
            return json.dumps({"name": NAME, "versions": [VERSION], **self.model.metadata})
        if verb == "ready":
            return json.dumps({"name": NAME, "ready": True})
        raise Refused(405 if verb == "infer" else 404, f"there is nothing to get at {path}")

    def verb(self, path):
        """What stands behind the model, and its version, in a path of V2."""
        parts = path.split("/")
        if parts[:3] != ["", "v2", "models"] or len(parts) < 4:
            raise Refused(404, f"there is nothing at {path}")
        if parts[3] != NAME:
            raise Refused(404, f"there is no model `{parts[3]}` here, but `{NAME}`")
        rest = parts[4:]
        if rest[:1] == ["versions"]:
            if rest[1:2] not in ([VERSION], [VERSION.lstrip("v")]):
                raise Refused(404, f"there is no such version here, but {VERSION}")
            rest = rest[2:]
        return "/".join(rest)

    def post(self, path):
        body = self.body()
        if path == "/invocations":
            return self.model.invoke(body, self.headers.get("content-type", ""))
        if self.verb(path) != "infer":
            raise Refused(404, f"there is nothing to post to at {path}")
        call = parse(body)
        inputs = call.get("inputs")
        if not isinstance(inputs, list) or not inputs:
            raise Refused(400, "the body needs `inputs`, a list of tensors")
        outputs = outputs_of(self.model.infer(dict(map(tensor, inputs))))
        wanted = [o.get("name") for o in call.get("outputs") or [] if isinstance(o, dict)]
        unknown = set(wanted) - {o["name"] for o in outputs}
        if unknown:
            raise Refused(400, f"the model has no output `{unknown.pop()}`")
        answer = {"model_name": NAME, "model_version": VERSION}
        if "id" in call:
            answer["id"] = call["id"]
        return json.dumps({**answer, "outputs": [o for o in outputs if not wanted or o["name"] in wanted]})

    def refuse(self, status, message):
        """What follows on the connection is the rest of a body: nothing more is read from it."""
        self.close_connection = self.unread = True
        raise Refused(status, message)

    def too_large(self):
        self.refuse(413, f"a body may have {LARGEST_BODY >> 20} MiB")

    def length(self):
        """Bytes of the body; None when it comes in chunks."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return None
        text = self.headers.get("content-length", "")
        if not (text.isascii() and text.isdigit()):
            self.refuse(411, "the body does not say how long it is")
        # More digits than any size has are not worth a number.
        if len(text) > 18 or int(text) > LARGEST_BODY:
            self.too_large()
        return int(text)

    def body(self):
        length = self.length()
        return self.chunks() if length is None else self.rfile.read(length)

    def chunks(self):
        body = bytearray()
        while size := self.chunk():
            if size > LARGEST_BODY - len(body):
                self.too_large()
            body += self.rfile.read(size)
            self.rfile.readline(1024)
        for _ in range(MOST_TRAILERS):
            if not self.rfile.readline(1024).strip():
                return bytes(body)
        self.refuse(400, "the body has too many trailers")

    def chunk(self):
        text = self.rfile.readline(1024).split(b";")[0].strip()
        if not text or text.strip(b"0123456789abcdefABCDEF"):
            self.refuse(400, "the body is not in chunks, or broke off")
        return int(text, 16)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    address_family = socket.AF_INET
    environment = None


def warm_up(model, file):
    """Bodies of requests, one or a list of them, that must be answered before anybody else's."""
    with open(os.path.join(ARTIFACT, file)) as f:
        examples = json.load(f)
    for example in examples if isinstance(examples, list) else [examples]:
        inputs = example.get("inputs")
        if isinstance(inputs, list) and inputs and isinstance(inputs[0], dict) and "datatype" in inputs[0]:
            outputs_of(model.infer(dict(map(tensor, inputs))))
        else:
            model.invoke(json.dumps(example).encode(), "application/json")


def hold_environment():
    """A lock on the environment in which this runs, as long as it does: a clean-up of the state folder leaves it alone."""
    try:
        lock = open(sys.prefix + ".lock")
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return lock
    except OSError:
        # It is none of trimtab's.
        return None


def main():
    settings = json.loads(sys.argv[1])
    # Until the end of the process.
    Server.environment = hold_environment()
    # The code of the version, in the place of this file's folder.
    sys.path[0] = os.getcwd()
    Handler.model = {"python": Python, "mlflow": Mlflow}[settings["runtime"]](settings)
    if settings.get("examples"):
        warm_up(Handler.model, settings["examples"])
    server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()


if __name__ == "__main__":
    main()
