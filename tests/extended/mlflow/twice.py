"""The same script of a user against two servers, each in a process of its own, and whether the script saw the same.

A script calls `note(name, value)` for what it saw, and `refused(name, call)` for what has to fail. What was noted is compared as `pair` compares
answers: ids are mapped, times have to lie in the time of the script.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time

from pair import TIMES, Pair, servers, unique

NOTES = []
# An answer may be shown in a message; how a server sets its JSON is its own affair.
EXTRA_FIELDS = re.compile(r',\s*"sqlstate":\s*"[^"]*",\s*"error_class":\s*"[^"]*"')
# The name that the script uses for what it makes; the same for both servers.
NAME = os.environ.get("TWICE_NAME", "")


def plain(value):
    """What JSON can hold of a value of MLflow's client."""
    if isinstance(value, (str, int, bool)) or value is None:
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if hasattr(type(value), "_properties"):
        return {k: plain(v) for k, v in dict(value).items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "__dataclass_fields__"):
        return {k: plain(getattr(value, k)) for k in value.__dataclass_fields__}
    if hasattr(value, "__dict__"):
        return {k.lstrip("_"): plain(v) for k, v in vars(value).items() if not callable(v)}
    return str(value)


def note(name, value):
    NOTES.append([name, plain(value)])
    return value


def refused(name, call):
    from mlflow.exceptions import MlflowException
    from requests import HTTPError

    try:
        NOTES.append([name, {"not refused": plain(call())}])
    except (MlflowException, HTTPError) as e:
        message = EXTRA_FIELDS.sub("", str(e).replace(os.environ["MLFLOW_TRACKING_URI"], "URL"))
        if "Response text" in message:
            message = message.replace('": ', '":').replace('", ', '",')
        NOTES.append([name, {"refused": getattr(e, "error_code", "HTTP"), "message": message}])


class Seen(Pair):
    """Compares what was noted."""

    def __init__(self, spans):
        super().__init__(*servers())
        self.spans = spans

    def leaves(self, a, b, key):
        if isinstance(a, int) and a != b and TIMES.search(key) and min(a, b) > 10**12:
            return all(start <= t <= end for t, (start, end) in zip((a, b), self.spans))
        return super().leaves(a, b, key)

    def refusals(self, a, b):
        """What the reference says of its database, or of its own failure, is said otherwise elsewhere."""
        if "too many 500 error responses" in a["message"]:
            return "refused" in b
        database = "(sqlite3." in a["message"]
        if database and "UNIQUE constraint failed" in a["message"] and b.get("refused") == "RESOURCE_ALREADY_EXISTS":
            return True
        start = a["message"].split(" Error: ")[0].split("(sqlite3.")[0]
        return database and a["refused"] == b.get("refused") and b["message"].startswith(start)

    def compare(self, notes):
        for (name, a), (other, b) in zip(*notes):
            if name != other:
                self.differ("the order of the script", [f"{name} | {other}"])
                return
            if isinstance(a, dict) and "refused" in a and isinstance(b, dict) and self.refusals(a, b):
                continue
            found = list(self.trees(a, b, "", name))
            if found:
                self.differ(name, found)
        if len(notes[0]) != len(notes[1]):
            self.differ("the length of the script", [f"{len(notes[0])} notes | {len(notes[1])} notes"])


def child(script):
    try:
        script()
    finally:
        with open(os.environ["TWICE_OUT"], "w") as out:
            json.dump(NOTES, out)


def start(server, folder, name):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "TWICE_"))}
    environment |= {
        "MLFLOW_TRACKING_URI": server.url, "TWICE_OUT": os.path.join(folder, "notes"), "TWICE_NAME": name, "HOME": folder,
        # A server that fails is told, not asked again for minutes.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "GIT_PYTHON_REFRESH": "quiet", "MPLBACKEND": "agg", "USER": "tester", "LOGNAME": "tester",
    }
    if server.token:
        environment["MLFLOW_TRACKING_TOKEN"] = server.token
    script = os.path.abspath(sys.argv[0])
    with open(os.path.join(folder, "said"), "w") as said:
        return subprocess.Popen([sys.executable, script], env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)


def main(script):
    """Runs `script` in two children, or is one of them."""
    if "TWICE_OUT" in os.environ:
        child(script)
        return
    what = os.path.basename(sys.argv[0]).removesuffix(".py")
    name = unique(what)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        folders = (first, second)
        began = int(time.time() * 1000)
        children = [start(server, folder, name) for server, folder in zip(servers(), folders)]
        try:
            codes = [c.wait(timeout=600) for c in children]
        finally:
            for c in children:
                c.kill()
                c.wait()
        ended = int(time.time() * 1000)
        seen = Seen([(began, ended)] * 2)
        for which, folder, code in zip(("reference", "this one"), folders, codes):
            said = open(os.path.join(folder, "said")).read()
            if code or "-v" in sys.argv:
                print(f"--- {which}: exit {code}\n{said[-6000:]}")
            if code:
                seen.differ(f"the script fails against {which}", [f"exit {code}"])
        paths = [os.path.join(folder, "notes") for folder in folders]
        notes = [json.load(open(path)) if os.path.exists(path) else [] for path in paths]
    seen.compare(notes)
    seen.calls = len(notes[0])
    seen.began -= (ended - began) / 1000
    seen.end(f"{what} ({seen.calls} notes)")
