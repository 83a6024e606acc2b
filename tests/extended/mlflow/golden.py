"""A recorded session of a real client with a real server, played to ours: the answers have to be those that were recorded."""

import json
import os
import sys

from pair import TIMES, Answer, Pair, Server, unique

SESSION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "session.jsonl")
# What a server says of itself is compared by its fields.
OF_ITSELF = "/api/3.0/mlflow/server-info"
LISTS = {"experiments": "name", "registered_models": "name"}


class Golden(Pair):
    def __init__(self, server):
        super().__init__(server, server)

    def leaves(self, a, b, key):
        """The times are of the day it was recorded."""
        taken = isinstance(a, int) and TIMES.search(key) and min(a, b) > 10**12
        return taken or super().leaves(a, b, key)

    def ours(self, text):
        """A recorded text with the ids that the server gave."""
        for recorded, given in self.ids[0].items():
            if len(recorded) > 30:
                text = text.replace(recorded, given)
        return text

    def experiments(self, text):
        """Ids of experiments, in the places where the session holds one."""
        for recorded, given in self.ids[0].items():
            if recorded.isdigit():
                for before, after in (('"experiment_id": "', '"'), ('"experiment_ids": ["', '"'), ("experiment_id=", ""), ("artifacts/", "/"), ("path=", "%2F"), ("mlflow-artifacts:/", "/")):
                    text = text.replace(f"{before}{recorded}{after}", f"{before}{given}{after}")
        return text


def of_the_session(answer, name):
    """Of a list of everything, what the session made."""
    for listed, field in LISTS.items():
        if isinstance(answer.json, dict) and listed in answer.json:
            answer.json = {listed: [x for x in answer.json[listed] if name in x[field]]}


def main():
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} URL TOKEN|-")
    server = Server(sys.argv[1], sys.argv[2])
    golden, name = Golden(server), unique("golden")
    for line in open(SESSION):
        row = json.loads(line.replace("golden-", name + "-"))
        body = None
        if "request" in row:
            body = golden.experiments(golden.ours(json.dumps(row["request"]))).encode()
        elif "request_bytes" in row:
            body = b"x" * row["request_bytes"]
        headers = {"Content-Type": row["request_content_type"]} if body is not None else {}
        path = golden.experiments(golden.ours(row["path"]))
        got = server.send(row["method"], path, body, headers)
        golden.calls += 1
        what = f"{row['method']} {row['path']}"
        if "response_bytes" in row:
            found = [f"{row['status']}, {row['response_bytes']} bytes | {got.status}, {len(got.body)} bytes"]
            if (got.status, len(got.body)) != (row["status"], row["response_bytes"]):
                golden.differ(what, found)
            continue
        wanted = Answer(row["status"], {"Content-Type": got.type}, json.dumps(row["response"]).encode() if "response" in row else b"")
        for answer in (wanted, got):
            of_the_session(answer, name)
        if path == OF_ITSELF:
            missing = set(wanted.json) - set(got.json or {})
            if got.status != 200 or missing:
                golden.differ(what, [f"{got.status}, without {sorted(missing)}"])
            continue
        golden.judge(what, wanted, got)
    golden.end("golden")


if __name__ == "__main__":
    main()
