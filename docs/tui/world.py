#!/usr/bin/env python3
"""A small fleet in every state that the terminal UI shows, from a real run: a repository, a daemon, replicas and callers.

usage: world.py TRIMTAB FOLDER

Makes FOLDER with the repository and the state, runs until interrupted, and prints `ready` once a canary of `fraud` is under way.
Needs git and python3."""

import json, pathlib, random, signal, subprocess, sys, textwrap, threading, time, urllib.request

TRAIN = """
import json, os, random, time
params = json.load(open(os.environ["TRIMTAB_PARAMS"]))
random.seed(params.get("seed", 0))
with open(os.environ["TRIMTAB_METRICS"], "a") as metrics:
    for step in range(params.get("epochs", 20)):
        loss = 1.2 / (1 + step * 0.35) + random.random() * 0.03
        print(f"epoch {step + 1}: loss {loss:.4f}", flush=True)
        metrics.write(json.dumps({"step": step, "loss": loss, "auc": 1 - loss / 8}) + "\\n")
        metrics.flush()
        time.sleep(params.get("pause", 0.02))
    metrics.write(json.dumps({"mae": params.get("mae", 3.2), "recall": params.get("recall", 0.993)}) + "\\n")
json.dump(params, open(os.environ["TRIMTAB_OUTPUT"] + "/model.json", "w"))
"""

SERVE = """
import json, os, random, signal, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
params = json.load(open(os.environ["TRIMTAB_ARTIFACT"] + "/model.json"))
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(random.expovariate(1 / params.get("seconds", 0.004)))
        body = b'{"score": 0.93}'
        status = 500 if random.random() < params.get("errors", 0) and "x" in self.path else 200
        self.wfile.write(b"HTTP/1.1 %d -\\r\\ncontent-length: %d\\r\\n\\r\\n" % (status, len(body)) + body)
    def log_message(self, *a):
        pass
class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *a: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""

RECALL = """
[[gate]]
metric = "recall"
min = 0.98
"""

SLO = """
[monitor]
slo = { availability = 0.999, latency_p99 = "30ms", watch = "0s" }
"""

CANARY = """
[[deploy]]
environment = "staging"
[[deploy]]
environment = "production"
after = "staging"
strategy = "canary"
steps = [{ weight = 5, hold = "10s" }, { weight = 25, hold = "10m" }, { weight = 50, hold = "10m" }]
sticky = "header:x-user"
[[deploy.analysis]]
metric = "error_rate"
max = 0.01
[[deploy.analysis]]
metric = "latency_p99"
no_worse_than = "stable"
tolerance = 1.0
[monitor]
slo = { availability = 0.999, latency_p99 = "200ms" }
"""
APPROVED = """
[[deploy]]
environment = "staging"
[[deploy]]
environment = "production"
after = "staging"
approve = ["lin@example.com"]
"""
AT_ONCE = '[[deploy]]\nenvironment = "production"\n'
GATE = '[[gate]]\nmetric = "mae"\nmax = 4.0\n[[gate]]\nmetric = "recall"\nmin = 0.99\n'

PEOPLE = {
    "Ada": "ada@example.com",
    "Lin": "lin@example.com",
    "Kim": "kim@example.com",
}


class World:
    def __init__(self, trimtab, folder):
        self.trimtab, self.folder = trimtab, folder
        self.repo, self.state = folder / "repo", folder / "state"
        self.origin = folder / "risk-models.git"
        self.repo.mkdir(parents=True)
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", self.origin], check=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("remote", "add", "origin", str(self.origin))
        (folder / "data").mkdir()
        (folder / "data" / "transactions.csv").write_text("amount,fraud\n12,0\n900,1\n")
        self.write("specs/environments/staging.toml", 'schema = "trimtab/v1"\n[environment]\nname = "staging"\ntarget = "local"\n')
        self.write("specs/environments/production.toml", 'schema = "trimtab/v1"\n[environment]\nname = "production"\ntarget = "local"\n')
        self.write(
            "specs/datasets/transactions.toml",
            'schema = "trimtab/v1"\n[dataset]\nname = "transactions"\n[source]\npath = "transactions.csv"\n',
        )

    def git(self, *args, who="Ada"):
        name = ["-c", f"user.name={who}", "-c", f"user.email={PEOPLE[who]}"]
        subprocess.run(["git", *name, *args], cwd=self.repo, check=True)

    def write(self, path, text):
        file = self.repo / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def model(self, name, params, deploy, owner="ada@example.com", gate="", more=""):
        folder = f"specs/models/{name}"
        params = ", ".join(f"{k} = {json.dumps(v)}" for k, v in params.items())
        self.write(
            f"{folder}/model.toml",
            textwrap.dedent(
                f"""\
                schema = "trimtab/v1"
                [model]
                name = "{name}"
                owner = "{owner}"
                [data]
                train = "transactions"
                [train]
                run = ["python3", "train.py"]
                params = {{ {params} }}
                """
            )
            + gate
            + '[serve]\nrun = ["python3", "serve.py"]\nready = "/ready"\n'
            + more
            + deploy,
        )
        self.write(f"{folder}/train.py", TRAIN)
        self.write(f"{folder}/serve.py", SERVE)

    def commit(self, message, who="Ada"):
        self.git("add", "--all", who=who)
        self.git("commit", "--quiet", "-m", message, who=who)
        self.push(who)

    def push(self, who):
        """The daemon commits locks to the same branch meanwhile."""
        while True:
            fetched = subprocess.run(["git", "fetch", "--quiet", "origin", "main"], cwd=self.repo, capture_output=True)
            if fetched.returncode == 0:
                self.git("rebase", "--quiet", "FETCH_HEAD", who=who)
            if subprocess.run(["git", "push", "--quiet", "origin", "main"], cwd=self.repo, capture_output=True).returncode == 0:
                return

    def cli(self, *args):
        command = [self.trimtab, "--state", str(self.state), *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def models(self):
        # Its exit code says whether all is well; before the daemon listens there is nothing to read.
        command = [self.trimtab, "--state", str(self.state), "status", "--json"]
        said = subprocess.run(command, capture_output=True, text=True).stdout
        return {m["name"]: m for m in json.loads(said or "{}").get("models", [])}

    def wait(self, what, test, within=120):
        end = time.monotonic() + within
        while not test(self.models()):
            if time.monotonic() > end:
                sys.exit(f"{what} did not come; see {self.folder}/daemon.log")
            time.sleep(0.2)

    def daemon(self):
        log = open(self.folder / "daemon.log", "w")
        command = [self.trimtab, "daemon", "--state", str(self.state), "--repo", str(self.origin), "--data", str(self.folder / "data")]
        return subprocess.Popen([*command, "--router", "127.0.0.1:0"], stdout=log, stderr=log)

    def call(self, router, name, pause):
        def forever():
            while True:
                try:
                    request = urllib.request.Request(f"{router}/models/{name}/x", headers={"x-user": str(random.random())})
                    urllib.request.urlopen(request, timeout=5).read()
                except OSError:
                    pass
                time.sleep(random.expovariate(1 / pause))

        threading.Thread(target=forever, daemon=True).start()


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    trimtab, folder = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve()
    w = World(trimtab, folder)
    w.model("fraud", {"depth": 6}, CANARY)
    w.model("churn", {"seed": 3}, AT_ONCE, "lin@example.com")
    w.model("demand", {"seed": 4, "seconds": 0.009}, AT_ONCE, "kim@example.com")
    w.model("pricing", {"seed": 5, "mae": 3.9}, AT_ONCE, "lin@example.com", GATE)
    w.model("ranking", {"seed": 6}, AT_ONCE, "kim@example.com")
    w.commit("five models")
    # Another team's, with a daemon of its own.
    other = World(trimtab, folder / "growth")
    other.model("signup", {"seed": 1}, AT_ONCE)
    other.model("upsell", {"seed": 2}, AT_ONCE)
    other.commit("two models")
    daemons = [w.daemon(), other.daemon()]
    try:
        healthy = lambda n: lambda m: len(m) == n and all(x["health"] == "Healthy" and x["sync"] == "Synced" for x in m.values())
        w.wait("five healthy models", healthy(5))
        other.wait("two healthy models", healthy(2))
        router = json.loads(w.cli("status", "--json"))["router"]
        for name, pause in {"fraud": 0.01, "churn": 0.08, "demand": 0.02, "pricing": 0.05, "ranking": 0.3}.items():
            w.call(router, name, pause)
        for n, recall in enumerate([0.991, 0.987, 0.994, 0.996]):
            w.model("demand", {"seed": 10 + n, "seconds": 0.009, "recall": recall}, AT_ONCE, "kim@example.com", RECALL, SLO)
            w.commit(f"demand: seed {10 + n}", "Kim")
            live = lambda m: m["demand"]["health"] == "Healthy" and m["demand"]["environments"][-1]["version"] == n + 2
            w.wait("a version of demand", live)
        w.cli("suspend", "churn")
        w.model("pricing", {"seed": 7, "mae": 4.31}, AT_ONCE, "lin@example.com", GATE)
        w.commit("pricing: new features", "Lin")
        w.wait("a failed gate", lambda m: m["pricing"]["health"] == "Degraded")
        w.write("specs/models/ranking/model.toml", (w.repo / "specs/models/ranking/model.toml").read_text().replace("params", "parms"))
        w.commit("ranking: tidy up", "Kim")
        w.wait("a broken spec", lambda m: m["ranking"]["sync"] == "OutOfSync")
        w.model("fraud", {"depth": 8, "seconds": 0.005}, CANARY)
        w.commit("fraud: deeper trees")
        at = lambda m: next((e.get("rollout") or {} for e in m["fraud"]["environments"] if e["environment"] == "production"), {})
        w.wait("the second step", lambda m: at(m).get("weight") == 25)
        w.model("forecast", {"seed": 9, "epochs": 400, "pause": 0.4}, AT_ONCE, "kim@example.com")
        w.commit("forecast: first model", "Kim")
        w.model("returns", {"seed": 8}, APPROVED)
        w.commit("returns: first model")
        w.wait("a training and a version to approve", lambda m: "forecast" in m and m.get("returns", {}).get("unapproved"))
        print("ready", flush=True)
        daemons[0].wait()
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait()
        # Routers and replicas outlive their daemon by design.
        subprocess.run(["pkill", "-f", f"{folder}/(growth/)?state"])


if __name__ == "__main__":
    main()
