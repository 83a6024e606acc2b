"""The same call to two servers, and whether their answers are the same.

Every script beside this file is run as

    python filters.py REFERENCE_URL REFERENCE_TOKEN URL TOKEN

where the reference is a real `mlflow server` (its token is `-`). What must differ between two servers is mapped, not deleted: a run id of one
stands for one run id of the other, from its first appearance to the end, and a time that a server took stands for the call during which it
was taken. So an answer with the wrong run in it, or with a time that was not moved, is a difference.
"""

import bisect
import faulthandler
import http.client
import itertools
import json
import os
import re
import sys
import time
import urllib.parse

API = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/"
ID = r"m-[0-9a-f]{32}|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"
TOKEN = re.compile(rf"({ID}|\d+)")
WHOLE_ID = re.compile(ID)
GENERATED = re.compile(r"[a-z]+-[a-z]+-\d{1,4}")
MARK = re.compile("⟦[^⟧]*⟧")
PYTHON_SET = re.compile(r"\{('[^']*'(?:, '[^']*')*)\}")
TIMES = re.compile(r"(time|timestamp)(_ms)?$")
# Times that only a server takes.
TAKEN = re.compile(r"creation_|last_update")
# No server that is tested is older than this.
BORN = int((time.time() - 86_400) * 1000)
# Optional fields of errors that only this version of MLflow has.
EXTRA = {"sqlstate", "error_class"}
# Lists that are maps on the wire: the SQL store gives them as the database finds them.
MAPS = {"tags", "params", "aliases", "dataset_summaries", "registrations", "model_inputs", "model_outputs"}
# `metrics` is a map in a run and in a logged model, and a sequence in a history.
HELD = {"data"}


class Allowed:
    """A difference that is meant. `holds` sees the two answers, and the call as it is shown."""

    def __init__(self, reason, holds):
        self.reason, self.holds = reason, holds


def _refused(answer):
    return answer.status in (400, 404, 405, 409, 501) and isinstance(answer.json, dict) and "error_code" in answer.json


def _same_error(a, b):
    return a.status == b.status and _refused(a) and _refused(b) and a.json["error_code"] == b.json["error_code"]


def _same_until(a, b, word):
    """The same refusal, in the same words until this one."""
    return _same_error(a, b) and word in a.message and a.message.split(word)[0] == b.message.split(word)[0]


ALLOWED = [
    Allowed(
        "MLflow fails by itself (500) at this request; its clients try a 500 again for minutes, so a refusal, or an answer, is right",
        lambda a, b, _: a.status == 500 and (_refused(b) or b.status in (200, 500)),
    ),
    Allowed(
        "MLflow shows a text of its database or of its SQL library, which another store does not have",
        lambda a, b, _: re.search(r"\((sqlite3|builtins)\.|sqlalche\.me|^IN expression list", a.message) and a.status == b.status and _refused(b),
    ),
    Allowed(
        "MLflow shows the text of a Python exception in place of words for users",
        lambda a, b, _: re.search(r"invalid literal for int\(\)|object has no attribute", a.message) and _same_error(a, b),
    ),
    Allowed(
        "MLflow gives no thing and a token for the next page, for ever: a refusal, or what is there, ends the asking",
        lambda a, b, _: a.status == 200 and isinstance(a.json, dict) and set(a.json) == {"next_page_token"} and (_refused(b) or b.status == 200),
    ),
    Allowed(
        "MLflow takes a negative number of results; nobody wants that many",
        lambda a, b, _: a.status == 200 and b.status == 400 and re.search("max_results", b.message),
    ),
    Allowed(
        "MLflow goes on with what it had read of a message until a value that is no number or no text; a refusal loses nothing silently",
        lambda a, b, _: a.status in (200, 400, 404) and b.status == 400 and re.match(r"Invalid value .* for parameter '\w+' supplied:  Hint: Value was of type '", b.message),
    ),
    Allowed(
        "MLflow takes a list for an empty message",
        lambda a, b, _: b.status == 400 and b.message == "The body of the request must be a JSON object",
    ),
    Allowed(
        "what clients made up as a page token is shown as Python shows bytes and maps",
        lambda a, b, _: _same_until(a, b, "in the page token") or (a.message.startswith("Invalid page token") and b.message.startswith("Invalid page token") and _same_error(a, b)),
    ),
    Allowed(
        "MLflow's SQL library takes some words (`nothing`, `true`) for its own; here they are names like any other, and refused as such",
        lambda a, b, _: re.search(r"Could not be parsed|Invalid clause\(s\) in filter string|^Invalid filter string", a.message) and _same_error(a, b),
    ),
    Allowed("MLflow leaves a quote or a name out of what it would take", lambda a, b, _: any(_same_until(a, b, word) for word in ("' not one of", "Valid keys are"))),
    Allowed(
        "a setting of MLflow's server that would allow it is not ours",
        lambda a, b, _: re.search(r"MLFLOW_[A-Z_]+|on windows", a.message) and _same_error(a, b) and a.message.startswith(b.message.rstrip(".")),
    ),
    Allowed(
        "files have names that every system can have: no backslash, no line end, no zero byte, none of over 255 bytes; and there is no folder beside those of runs, models and traces",
        lambda a, b, what: a.status in (200, 204, 400, 404) and b.status == 400 and re.search(r"Invalid (artifact )?path|Invalid URL", b.body.decode(errors="replace")),
    ),
    Allowed("MLflow lets a line end into an alias", lambda a, b, what: "\\n" in what and b.status == 400 and b.message.startswith("Invalid alias name")),
    Allowed("there is no archive of traces to set up", lambda a, b, what: "mlflow.trace.archiv" in what and "Trace archival config" in a.message and b.status == 200),
    Allowed("MLflow's folder of files takes no parts: it refuses whatever comes", lambda a, b, what: "mlflow-artifacts/mpu/" in what and a.status in (400, 501) and b.status in (400, 404) and _refused(b)),
    Allowed("a path with a doubled slash is none: MLflow sends callers on to another", lambda a, b, _: a.status == 308 and b.status in (400, 404)),
    Allowed("no name of a file is refused as missing", lambda a, b, what: what.endswith("path=") and a.status == 404 and b.status == 400),
    Allowed("a call is there under every base of the API", lambda a, b, what: a.status == 404 and a.html and re.search("/3.0/mlflow/runs/get|metrics/get-history-bulk", what)),
    Allowed("the folder of all files is no file", lambda a, b, what: "mlflow-artifacts/artifacts/" in what and a.status == 400 and b.status == 404),
    Allowed("a field may be named as JSON names it", lambda a, b, what: re.search('"run(Id|Uuid)"', what) and "Missing value for required parameter" in a.message and b.status == 200),
    Allowed("an output has an id", lambda a, b, _: b.status == 400 and b.message == "An output needs a model_id that is given once, not ''"),
    Allowed("an id is shown as it is kept", lambda a, b, what: re.search(r'"experiment_id": "(0{32}|\+0| 0)"', what) and a.status == b.status == 200),
    Allowed("digits of an id are ASCII", lambda a, b, what: ("٠" in what or "\\u0660" in what) and _refused(b) and "must be a valid integer" in b.message),
    Allowed(
        "MLflow compares the status of a logged model with the number that its database holds, so that words find nothing and numbers sort",
        lambda a, b, what: "logged-models/search" in what and re.search(r"status = '?(READY|2)|\"status\"", what) and a.status == b.status == 200,
    ),
    Allowed(
        "MLflow's documents let the digest of a dataset out; its server then looks for an empty one",
        lambda a, b, what: "logged-models/search" in what and "dataset_name" in what and "dataset_digest" not in what and a.status == b.status == 200,
    ),
    Allowed("MLflow leaves the size of an empty file out", lambda a, b, what: "artifacts" in what and a.status == b.status == 200 and _sized(a.json) == _sized(b.json)),
    Allowed("another method of a path that has none: 404 or 405", lambda a, b, _: {a.status, b.status} <= {404, 405}),
    Allowed("no page of another origin calls: OPTIONS is refused", lambda a, b, what: "OPTIONS /" in what and b.status == 405),
    Allowed("a page in HTML is for people", lambda a, b, _: a.status >= 300 and a.html and a.status == b.status),
    Allowed(
        "MLflow shows a path of its working folder",
        lambda a, b, _: re.match("Invalid model version source: '/.*To use a local path", a.message) and _same_error(a, b),
    ),
]


def _sized(listing):
    """A listing of files with the size that is left out when it is 0; without the place, which holds ids."""
    files = listing.get("files", []) if isinstance(listing, dict) else []
    return [{"file_size": 0, **f} if not f.get("is_dir") else f for f in files] or listing


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.body = status, body
        self.type = headers.get("Content-Type", "").split(";")[0]
        self.html = self.type == "text/html"
        try:
            self.json = json.loads(body)
        except ValueError:
            self.json = None

    @property
    def message(self):
        return str(self.json.get("message", "")) if isinstance(self.json, dict) else ""

    def shown(self):
        text = self.body.decode("utf-8", "backslashreplace") if self.json is None else json.dumps(self.json, ensure_ascii=False)
        return f"{self.status} {text if len(text) < 1500 else text[:1500] + '…'}"


class Server:
    def __init__(self, url, token):
        self.url = url.rstrip("/")
        parsed = urllib.parse.urlsplit(self.url)
        self.host, self.port = parsed.hostname, parsed.port
        self.token = None if token in ("", "-") else token
        # When each call began and ended, in milliseconds.
        self.began, self.ended = [], []

    def send(self, method, target, body=None, headers=None):
        """`target` goes out as it is: no `..` is resolved, nothing is quoted."""
        headers = dict(headers or {})
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            self.began.append(int(time.time() * 1000))
            try:
                connection.request(method, target, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                # It answered before it had read the whole body.
                pass
            return self.answer(connection)
        finally:
            self.ended.append(int(time.time() * 1000))
            connection.close()

    @staticmethod
    def answer(connection):
        try:
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException) as e:
            return Answer(0, {}, f"no answer: {e!r}".encode())

    def calls_at(self, millis):
        """The calls during which this time was."""
        last = bisect.bisect_right(self.began, millis)
        first = bisect.bisect_left(self.ended, millis)
        return set(range(first, last))


class Pair:
    """Two servers. `a` is the reference."""

    def __init__(self, a, b, only=None):
        self.sides = (a, b)
        self.ids = ({}, {})
        self.marks = {}
        self.differences = []
        self.allowed = {}
        self.calls = 0
        self.only = only
        self.began = time.monotonic()

    # What differs by nature.

    def mark(self, name, a, b):
        """A text that is `a` for one server and `b` for the other; may be put into any text of a request."""
        text = f"⟦{name}⟧"
        if text in self.marks and self.marks[text] != (a, b):
            text = f"⟦{name}#{len(self.marks)}⟧"
        self.marks[text] = (a, b)
        if isinstance(a, str) and isinstance(b, str):
            self.paired(a, b)
        return text

    def paired(self, a, b):
        """Whether the two ids stand for each other; new ones do from now on."""
        known = self.ids[0].get(a), self.ids[1].get(b)
        if known == (None, None):
            self.ids[0][a], self.ids[1][b] = b, a
            return True
        return known == (b, a)

    def rendered(self, value, side):
        if isinstance(value, str):
            return MARK.sub(lambda m: self.marks[m[0]][side] if m[0] in self.marks else m[0], value)
        if isinstance(value, dict):
            return {self.rendered(k, side): self.rendered(v, side) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.rendered(v, side) for v in value]
        return value

    # Calls.

    def call(self, method, path, body=None, query=None, raw=None, headers=None, note="", scope=None, quiet=False):
        """Sends it to both and compares. `body` is JSON; `raw` goes as it is; `query` is a map, a list of pairs, or a text.
        `scope(answer)` leaves in an answer what the two servers have in common."""
        target = path if path.startswith("/") else API + path
        answers = []
        for side, server in enumerate(self.sides):
            sent = self.rendered(raw, side) if raw is not None else None
            kept = dict(headers or {})
            if body is not None:
                sent = json.dumps(self.rendered(body, side))
                kept.setdefault("Content-Type", "application/json")
            elif raw is not None:
                kept.setdefault("Content-Type", "application/json")
            where = self.rendered(target, side)
            if query is not None:
                text = query if isinstance(query, str) else urllib.parse.urlencode(self.rendered(query, side), doseq=True)
                where += "?" + self.rendered(text, side)
            sent = sent.encode("utf-8", "surrogatepass") if isinstance(sent, str) else sent
            answers.append(server.send(method, where, sent, kept))
        a, b = answers
        self.calls += 1
        if scope:
            for answer in (a, b):
                if answer.json is not None:
                    answer.json = scope(answer.json)
        if not quiet:
            shown = f"{method} {target}" + (f"?{query if isinstance(query, str) else json.dumps(query)}" if query else "")
            shown += f" {json.dumps(body, ensure_ascii=False)}" if body is not None else ""
            shown += f" {raw[:300]!r}" if raw is not None else ""
            self.judge(f"{note}: {shown}" if note else shown, a, b)
        return Both(self, a, b)

    def ask(self, side, method, path, fields):
        """One call to one of them."""
        fields = self.rendered(fields, side)
        if method == "GET":
            return self.sides[side].send(method, API + path + "?" + urllib.parse.urlencode(fields, doseq=True))
        return self.sides[side].send(method, API + path, json.dumps(fields).encode(), {"Content-Type": "application/json"})

    def get(self, path, query=None, **more):
        return self.call("GET", path, query=query, **more)

    def post(self, path, body=None, **more):
        return self.call("POST", path, body=body if body is not None or "raw" in more else {}, **more)

    def patch(self, path, body=None, **more):
        return self.call("PATCH", path, body=body, **more)

    def delete(self, path, body=None, **more):
        return self.call("DELETE", path, body=body, **more)

    # Comparing.

    def judge(self, what, a, b):
        found = list(self.between(a, b))
        if not found:
            return
        for allowed in ALLOWED:
            if allowed.holds(a, b, what):
                self.allowed.setdefault(allowed.reason, []).append(what)
                return
        self.differ(what, found, a.shown(), b.shown())

    def differ(self, what, found, a="", b=""):
        self.differences.append((what, found))
        if self.only and self.only not in what:
            return
        print(f"\nDIFFERENCE {len(self.differences)}: {what[:1200]}")
        for where in found[:12]:
            print(f"  {where}")
        if len(found) > 12:
            print(f"  … {len(found) - 12} more")
        if a or b:
            print(f"  reference: {a}\n  this one:  {b}")

    def between(self, a, b):
        """What differs, as texts."""
        if a.status != b.status:
            yield f"status: {a.status} | {b.status}"
        if a.type != b.type:
            yield f"content type: {a.type} | {b.type}"
        if a.json is None or b.json is None:
            # To a client an empty body is an empty message.
            if a.body != b.body and not {a.body, b.body} <= {b"", b"{}"}:
                yield f"body: {a.body[:200]} | {b.body[:200]}"
        else:
            yield from self.trees(a.json, b.json, "", "")

    def trees(self, a, b, path, key, parent=""):
        if isinstance(a, dict) and isinstance(b, dict):
            # Ids come first: other texts hold them.
            for name in sorted({**a, **b}, key=lambda name: not name.endswith("_id")):
                if name in EXTRA and not path:
                    continue
                at = f"{path}.{name}"
                if name not in a or name not in b:
                    yield f"{at}: {a.get(name, 'absent')!r:.300} | {b.get(name, 'absent')!r:.300}"
                else:
                    yield from self.trees(a[name], b[name], at, name, key)
        elif isinstance(a, list) and isinstance(b, list):
            if key in MAPS or (key == "metrics" and parent in HELD):
                a, b = sorted(a, key=self.order_of(0)), sorted(b, key=self.order_of(1))
            if len(a) != len(b):
                yield f"{path}: {len(a)} items | {len(b)} items"
            for i, (x, y) in enumerate(zip(a, b)):
                yield from self.trees(x, y, f"{path}[{i}]", key, parent)
        elif type(a) is not type(b) or not self.leaves(a, b, key):
            yield f"{path}: {self.apart(a, b)}"

    @staticmethod
    def apart(a, b):
        """The two values; of long texts the part where they go apart."""
        if isinstance(a, str) and isinstance(b, str) and max(len(a), len(b)) > 200:
            a, b = TOKEN.sub("#", a), TOKEN.sub("#", b)
            same = len(os.path.commonprefix([a, b]))
            a, b = a[max(0, same - 60) :], b[max(0, same - 60) :]
        return f"{a!r:.300} | {b!r:.300}"

    def order_of(self, side):
        def order(item):
            text = json.dumps(item, sort_keys=True)
            return WHOLE_ID.sub(lambda m: m[0] if side == 0 else self.ids[1].get(m[0], m[0]), text)

        return order

    def leaves(self, a, b, key):
        if isinstance(a, str):
            return self.texts(a, b, key)
        if a == b:
            return True
        if isinstance(a, int) and TIMES.search(key) and min(a, b) > 10**12:
            calls = self.sides[0].calls_at(a), self.sides[1].calls_at(b)
            # What was there before this script: nobody knows when it was made.
            older = calls == (set(), set()) and TAKEN.match(key) and max(a, b) > BORN
            return bool(calls[0] & calls[1]) or older
        return False

    def texts(self, a, b, key):
        if key == "next_page_token":
            return bool(a) == bool(b)
        if key == "experiment_id":
            return self.paired(a, b)
        if (a == b and not WHOLE_ID.search(a)) or self.ids[0].get(a) == b:
            return True
        if (key in ("run_name", "name", "value") or key.endswith("runName")) and GENERATED.fullmatch(a) and GENERATED.fullmatch(b):
            return True
        if "{" in a:
            a, b = self.sets(a), self.sets(b)
        a, b = TOKEN.split(a), TOKEN.split(b)
        return len(a) == len(b) and all(self.parts(x, y, i) for i, (x, y) in enumerate(zip(a, b)))

    def parts(self, a, b, i):
        """Every second part of a split text is an id or a number."""
        if i % 2 == 0:
            return a == b
        if WHOLE_ID.fullmatch(a) and WHOLE_ID.fullmatch(b):
            return self.paired(a, b)
        # A number that differs is the id of an experiment, or nothing.
        return a == b or self.ids[0].get(a) == b

    @staticmethod
    def sets(text):
        """Python shows a set in an order that changes with every process."""
        return PYTHON_SET.sub(lambda m: "{" + ", ".join(sorted(m[1].split(", "))) + "}", text)

    # The end.

    def end(self, what):
        """Says what came out, and ends the process."""
        print(f"\n{what}: {self.calls} calls, {len(self.differences)} differences, {time.monotonic() - self.began:.1f} s")
        for reason, calls in self.allowed.items():
            print(f"  allowed {len(calls)} times: {reason}")
        sys.exit(1 if self.differences else 0)


class Both:
    """Two answers to one call."""

    def __init__(self, pair, a, b):
        self.pair, self.a, self.b = pair, a, b

    def at(self, path, side):
        value = (self.a, self.b)[side].json
        for step in path.split("."):
            try:
                value = value[int(step)] if isinstance(value, list) else value[step]
            except (KeyError, IndexError, TypeError, ValueError):
                return None
        return value

    def ref(self, path, name):
        """What stands there, to be used in later requests: `answer.ref("run.info.run_id", "r1")`."""
        a, b = self.at(path, 0), self.at(path, 1)
        return self.pair.mark(name, a if a is not None else f"no-{name}", b if b is not None else f"no-{name}")


def pages(pair, method, path, fields, most=50, note=""):
    """Walks all pages, comparing each; how many there were."""
    token, count = None, 0
    while count < most:
        asked = dict(fields, **({"page_token": token} if token else {}))
        kept = {"query": asked} if method == "GET" else {"body": asked}
        answer = pair.call(method, path, note=f"{note} page {count + 1}", **kept)
        count += 1
        if not answer.at("next_page_token", 0) or not answer.at("next_page_token", 1):
            return count
        token = answer.ref("next_page_token", f"page{pair.calls}")
    return count


NAMES = itertools.count()


def everything(pair, method, path, fields, listed, keep, note=""):
    """Walks all pages of each server by itself, and compares what `keep` leaves: other scripts may have made more there."""
    answers = []
    for side in (0, 1):
        kept, token = [], None
        while True:
            asked = dict(fields, **({"page_token": token} if token else {}))
            answer = pair.ask(side, method, path, asked)
            if not isinstance(answer.json, dict) or answer.status != 200:
                break
            kept += [x for x in answer.json.get(listed, []) if keep(x)]
            token = answer.json.get("next_page_token")
            if not token:
                answer.json = {listed: kept}
                break
        answers.append(answer)
    # The calls of both are counted alike: a time is known by its call.
    most = max(len(server.began) for server in pair.sides)
    for server in pair.sides:
        missing = most - len(server.began)
        server.began += server.ended[-1:] * missing
        server.ended += server.ended[-1:] * missing
    pair.calls += 1
    pair.judge(f"{note}: all pages of {method} {path} {json.dumps(fields)}", *answers)


def unique(word):
    """A name that no run of a script has used."""
    return f"{word}-{int(time.time() * 1000):x}{next(NAMES):03x}"


# A script that hangs shows where, and ends.
LONGEST = 1500


def servers(argv=None):
    argv = sys.argv if argv is None else argv
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    if len(argv) < 5:
        sys.exit(f"usage: {argv[0]} REFERENCE_URL REFERENCE_TOKEN|- URL TOKEN|- [TEXT]   (TEXT: show only differences that hold it)")
    return Server(argv[1], argv[2]), Server(argv[3], argv[4])


def pair():
    return Pair(*servers(), only=sys.argv[5] if len(sys.argv) > 5 else None)
