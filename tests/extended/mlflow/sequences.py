"""Random sequences of calls, the same to both servers: every answer must be the same, and all that is there at the end.

A sequence follows from its seed. When one finds a difference, it is made smaller by leaving calls out, and what remains is printed.
"""

import json
import os
import random
import sys
import time

from pair import ARTIFACTS, Pair, pair, servers, unique

LENGTH = 48
# For a long hunt: TRIMTAB_TEST_SEEDS=100-400.
FIRST_SEED, _, LAST_SEED = os.environ.get("TRIMTAB_TEST_SEEDS", "1-12").partition("-")
SEEDS = [*range(int(FIRST_SEED), int(LAST_SEED) + 1), int(time.time())]
BEGAN = 1_700_000_000_000
KEYS = ["a", "b", "c d", "e/f"]
WORDS = ["x", "y", "", "1", "0.5", "long " * 50, "Ünï", "it's"]
NUMBERS = [0, 1, -1, 0.5, 1e300, "NaN", "Infinity", "-Infinity"]
# The first steps make something to work on.
FIRST = ["create_experiment", "create_experiment", "create_run", "create_run", "create_logged", "create_logged", "create_model", "create_version", "create_version", "create_version"]
STAGES = ["None", "Staging", "Production", "Archived", "production", "nope"]


class Sequence:
    """One walk. Each call draws from a generator of its own, so that calls before it may be left out."""

    def __init__(self, pair, seed):
        self.pair, self.seed = pair, seed
        self.prefix = unique("seq")
        self.experiments, self.runs, self.models, self.logged, self.files = [], [], [], [], []
        self.calls = []
        self.count = 0

    def call(self, method, path, body=None, query=None, raw=None):
        shown = body if body is not None else query if query is not None else raw
        self.calls.append(f"{method} {path} {json.dumps(shown, ensure_ascii=False) if not isinstance(shown, bytes) else shown}")
        return self.pair.call(method, path, body, query=query, raw=raw, note=f"seed {self.seed}, call {len(self.calls)}")

    def step(self, index):
        self.luck = random.Random(f"{self.seed}/{index}")
        self.index = index
        first = dict(enumerate(FIRST)).get(index)
        getattr(self, first or self.luck.choices(list(OPERATIONS), weights=list(OPERATIONS.values()))[0])()

    # What to take.

    def any(self, things, missing):
        return self.luck.choice(things) if things and self.luck.random() > 0.04 else missing

    def experiment(self):
        return self.any(self.experiments, "999999")

    def run(self):
        return self.any(self.runs, "0" * 32)

    def model(self):
        return self.any(self.models, "no such model")

    def a_logged(self):
        return self.any(self.logged, "m-" + "0" * 32)

    def version(self):
        return str(self.luck.choice([1, 1, 1, 2, 2, 3, 9]))

    def key(self):
        return self.luck.choice(KEYS)

    def word(self):
        return self.luck.choice(WORDS)

    def pairs(self, most):
        pairs = [{"key": self.key(), "value": self.word()} for _ in range(self.luck.randrange(most + 1))]
        # Mostly one of a key: two may be refused, and then little follows.
        return pairs if self.luck.random() < 0.1 else list({p["key"]: p for p in pairs}.values())

    def metric(self):
        metric = {"key": self.key(), "value": self.luck.choice(NUMBERS), "timestamp": BEGAN + self.luck.randrange(4), "step": self.luck.randrange(-1, 4)}
        if self.logged and self.luck.random() < 0.25:
            metric |= {"model_id": self.luck.choice(self.logged)}
            if self.luck.random() < 0.5:
                metric |= {"dataset_name": "d", "dataset_digest": "g"}
        return metric

    # What to do.

    def create_experiment(self):
        made = self.call("POST", "experiments/create", {"name": f"{self.prefix}-{self.luck.randrange(4)}", "tags": self.pairs(2)})
        if made.a.status == 200:
            self.experiments.append(made.ref("experiment_id", f"e{self.index}"))

    def change_experiment(self):
        path, fields = self.luck.choice([
            ("experiments/update", {"new_name": f"{self.prefix}-{self.luck.randrange(6)}"}),
            ("experiments/set-experiment-tag", {"key": self.key(), "value": self.word()}),
            ("experiments/delete-experiment-tag", {"key": self.key()}),
        ])
        self.call("POST", path, {"experiment_id": self.experiment()} | fields)

    def delete_experiment(self):
        self.call("POST", f"experiments/{self.luck.choice(['delete', 'restore', 'restore'])}", {"experiment_id": self.experiment()})

    def search_experiments(self):
        order = self.luck.choice([None, ["name"], ["last_update_time DESC", "name"], ["creation_time"]])
        fields = {"filter": f"name LIKE '{self.prefix}%'", "max_results": self.luck.choice([1, 2, 50]), "view_type": self.luck.choice(["ALL", "ACTIVE_ONLY", "DELETED_ONLY"])}
        self.call("POST", "experiments/search", fields | ({"order_by": order} if order else {}))

    def create_run(self):
        # Start times differ, so that no order hangs on an id.
        fields = {"experiment_id": self.experiment(), "start_time": BEGAN + self.index, "tags": self.pairs(1), "user_id": self.word()[:9]}
        if self.luck.random() < 0.7:
            fields["run_name"] = self.word() or "named"
        made = self.call("POST", "runs/create", fields)
        if made.a.status == 200:
            self.runs.append(made.ref("run.info.run_id", f"r{self.index}"))

    def log(self):
        run = self.run()
        path, fields = self.luck.choice([
            ("runs/log-metric", self.metric()),
            ("runs/log-metric", self.metric()),
            ("runs/log-parameter", {"key": self.key(), "value": self.word()}),
            ("runs/set-tag", {"key": self.luck.choice([*KEYS, "mlflow.runName"]), "value": self.word()}),
            ("runs/delete-tag", {"key": self.key()}),
        ])
        self.call("POST", path, {"run_id": run} | fields)

    def log_batch(self):
        # One metric of a key and a model in a batch: which of several the real server keeps first hangs on its database.
        metrics = {(m["key"], m.get("model_id")): m for m in (self.metric() for _ in range(self.luck.randrange(4)))}
        self.call("POST", "runs/log-batch", {"run_id": self.run(), "metrics": list(metrics.values()), "params": self.pairs(2), "tags": self.pairs(2)})

    def log_inputs(self):
        dataset = {"name": self.luck.choice("de"), "digest": self.luck.choice("gh"), "source_type": "local", "source": self.word() or "s"}
        tags = [{"key": "mlflow.data.context", "value": self.luck.choice(["training", "eval"])}] if self.luck.random() < 0.6 else []
        self.call("POST", "runs/log-inputs", {"run_id": self.run(), "datasets": [{"dataset": dataset, "tags": tags}]})

    def log_outputs(self):
        self.call("POST", "runs/outputs", {"run_id": self.run(), "models": [{"model_id": self.a_logged(), "step": self.luck.randrange(3)}]})

    def update_run(self):
        fields = {"status": self.luck.choice(["FINISHED", "FAILED", "KILLED", "RUNNING"]), "end_time": BEGAN + 5000 + self.luck.randrange(9), "run_name": self.word()}
        self.call("POST", "runs/update", {"run_id": self.run()} | {k: v for k, v in fields.items() if self.luck.random() < 0.6})

    def delete_run(self):
        self.call("POST", f"runs/{self.luck.choice(['delete', 'restore', 'restore'])}", {"run_id": self.run()})

    def look_at_run(self):
        run = self.run()
        path, query = self.luck.choice([
            ("runs/get", {"run_id": run}),
            ("metrics/get-history", {"run_id": run, "metric_key": self.key()}),
            ("metrics/get-history", {"run_id": run, "metric_key": self.key(), "max_results": 2}),
            ("metrics/get-history-bulk-interval", {"run_ids": run, "metric_key": self.key(), "max_results": self.luck.randrange(1, 4)}),
        ])
        self.call("GET", path, query=query)

    def search_runs(self):
        filter = self.luck.choice(["", "metrics.a > 0", "params.a = 'x'", "tags.b != 'x'", "attributes.status = 'FINISHED'", "metrics.`c d` <= 1 AND params.a LIKE '%'", "dataset.name = 'd'", "run_name LIKE '%Ü%'", "tags.a IS NULL"])
        order = self.luck.choice([None, ["metrics.a DESC"], ["params.a"], ["tags.b DESC", "metrics.b"], ["end_time"]])
        fields = {"experiment_ids": self.experiments, "filter": filter, "max_results": self.luck.choice([2, 100]), "run_view_type": self.luck.choice(["ALL", "ACTIVE_ONLY", "DELETED_ONLY"])}
        self.call("POST", "runs/search", fields | ({"order_by": order} if order else {}))

    def create_logged(self):
        fields = {"experiment_id": self.experiment(), "name": self.luck.choice(["net", "tree"]), "params": [{"key": "p", "value": self.word()}], "tags": [{"key": "t", "value": self.word()}]}
        if self.luck.random() < 0.5:
            fields["source_run_id"] = self.run()
        made = self.call("POST", "logged-models", fields)
        if made.a.status == 200:
            self.logged.append(made.ref("model.info.model_id", f"l{self.index}"))

    def change_logged(self):
        model = self.a_logged()
        method, path, body = self.luck.choice([
            ("PATCH", f"logged-models/{model}", {"model_id": model, "status": self.luck.choice(["LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"])}),
            ("PATCH", f"logged-models/{model}/tags", {"tags": [{"key": self.luck.choice("tu"), "value": self.word()}]}),
            ("DELETE", f"logged-models/{model}/tags/{self.luck.choice('tu')}", None),
            ("POST", f"logged-models/{model}/params", {"model_id": model, "params": [{"key": self.luck.choice("pq"), "value": self.word()}]}),
            ("GET", f"logged-models/{model}", None),
            ("GET", f"logged-models/{model}", None),
        ])
        self.call(method, path, body)

    def delete_logged(self):
        self.call("DELETE", f"logged-models/{self.a_logged()}")

    def search_logged(self):
        filter = self.luck.choice(["", "name = 'net'", "params.p LIKE '%x%'", "metrics.a > 0", "tags.t != 'x'"])
        order = self.luck.choice([[], [{"field_name": "name"}], [{"field_name": "metrics.a", "ascending": False}]])
        self.call("POST", "logged-models/search", {"experiment_ids": self.experiments, "filter": filter, "order_by": order, "max_results": self.luck.choice([1, 50])})

    def create_model(self):
        name = f"{self.prefix}-m{self.luck.randrange(3)}"
        made = self.call("POST", "registered-models/create", {"name": name, "tags": self.pairs(2), "description": self.word()})
        if made.a.status == 200:
            self.models.append(name)

    def create_version(self):
        fields = {"name": self.model(), "source": f"s3://bucket/{self.luck.randrange(3)}", "tags": self.pairs(2), "description": self.word()}
        if self.logged and self.luck.random() < 0.4:
            model = self.luck.choice(self.logged)
            fields |= {"source": f"models:/{model}", "model_id": model}
        elif self.luck.random() < 0.4:
            fields["run_id"] = self.run()
        self.call("POST", "model-versions/create", fields)

    def change_model(self):
        name = self.model()
        method, path, fields = self.luck.choice([
            ("PATCH", "registered-models/update", {"description": self.word()}),
            ("POST", "registered-models/set-tag", {"key": self.key(), "value": self.word()}),
            ("DELETE", "registered-models/delete-tag", {"key": self.key()}),
            ("POST", "registered-models/alias", {"alias": self.luck.choice("st"), "version": self.version()}),
            ("POST", "registered-models/alias", {"alias": self.luck.choice("st"), "version": self.version()}),
            ("DELETE", "registered-models/alias", {"alias": self.luck.choice("st")}),
            ("POST", "registered-models/rename", {"new_name": f"{self.prefix}-m{self.luck.randrange(5)}"}),
        ])
        done = self.call(method, path, {"name": name} | fields)
        if "new_name" in fields and done.a.status == 200:
            self.models = [fields["new_name"] if n == name else n for n in self.models]

    def change_version(self):
        at = {"name": self.model(), "version": self.version()}
        method, path, fields = self.luck.choice([
            ("PATCH", "model-versions/update", {"description": self.word()}),
            ("POST", "model-versions/set-tag", {"key": self.key(), "value": self.word() or "w"}),
            ("DELETE", "model-versions/delete-tag", {"key": self.key()}),
            ("POST", "model-versions/transition-stage", {"stage": self.luck.choice(STAGES), "archive_existing_versions": self.luck.random() < 0.3}),
            ("POST", "model-versions/transition-stage", {"stage": self.luck.choice(STAGES), "archive_existing_versions": self.luck.random() < 0.3}),
        ])
        self.call(method, path, at | fields)

    def delete_from_registry(self):
        if self.luck.random() < 0.7:
            self.call("DELETE", "model-versions/delete", {"name": self.model(), "version": self.version()})
            return
        name = self.model()
        self.call("DELETE", "registered-models/delete", {"name": name})
        self.models = [n for n in self.models if n != name]

    def look_at_registry(self):
        name = self.model()
        method, path, fields = self.luck.choice([
            ("GET", "registered-models/get", {"name": name}),
            ("GET", "registered-models/alias", {"name": name, "alias": self.luck.choice("st")}),
            ("GET", "model-versions/get", {"name": name, "version": self.version()}),
            ("GET", "model-versions/get-download-uri", {"name": name, "version": self.version()}),
            ("POST", "registered-models/get-latest-versions", {"name": name, "stages": self.luck.choice([[], ["None"], ["Production", "staging"]])}),
            ("GET", "model-versions/search", {"filter": f"name = '{name}'", "max_results": 50}),
            ("GET", "registered-models/search", {"filter": f"name LIKE '{self.prefix}%'", "max_results": 2}),
        ])
        self.call(method, path, **({"query": fields} if method == "GET" else {"body": fields}))

    def files_of_run(self):
        run, name = self.luck.choice(self.runs) if self.runs else None, self.luck.choice(["f", "d/g", "d/e/h"])
        if run is None:
            return
        got = self.pair.call("GET", "runs/get", query={"run_id": run}, quiet=True)
        experiment = got.ref("run.info.experiment_id", f"of-{run[1:-1]}")
        at = f"{ARTIFACTS}artifacts/{experiment}/{run}/artifacts"
        kind = self.luck.randrange(6)
        if kind < 2:
            self.call("PUT", f"{at}/{name}", raw=self.word().encode() * self.luck.randrange(3))
        elif kind == 2:
            self.call("GET", f"{at}/{name}")
        elif kind == 3:
            self.call("GET", f"{ARTIFACTS}artifacts", query={"path": f"{experiment}/{run}/artifacts/{self.luck.choice(['', 'd', 'f'])}".rstrip("/")})
        elif kind == 4:
            self.call("GET", "artifacts/list", query={"run_id": run, "path": self.luck.choice(["", "d", "d/e", "f"])})
        else:
            # A file below a folder is not deleted alone: on a file system an empty folder stays.
            self.call("DELETE", f"{at}/{self.luck.choice(['f', 'd'])}")

    def everything(self):
        """All that is there."""
        self.call("POST", "experiments/search", {"filter": f"name LIKE '{self.prefix}%'", "max_results": 100, "view_type": "ALL"})
        if self.experiments:
            self.call("POST", "runs/search", {"experiment_ids": self.experiments, "run_view_type": "ALL", "max_results": 1000})
            self.call("POST", "logged-models/search", {"experiment_ids": self.experiments, "max_results": 50})
        for run in self.runs:
            self.call("GET", "runs/get", query={"run_id": run})
            self.call("GET", "artifacts/list", query={"run_id": run})
            for key in KEYS:
                self.call("GET", "metrics/get-history", query={"run_id": run, "metric_key": key})
        for model in self.logged:
            self.call("GET", f"logged-models/{model}", query={"allow_deleted": "true"})
        self.call("GET", "registered-models/search", query={"filter": f"name LIKE '{self.prefix}%'", "max_results": 100})
        self.call("GET", "model-versions/search", query={"filter": f"name LIKE '{self.prefix}%'", "max_results": 100})
        for name in self.models:
            self.call("GET", "registered-models/get", query={"name": name})


OPERATIONS = {
    "create_experiment": 3, "change_experiment": 2, "delete_experiment": 1, "search_experiments": 1, "create_run": 5, "log": 8, "log_batch": 5, "log_inputs": 3, "log_outputs": 2, "update_run": 3,
    "delete_run": 2, "look_at_run": 3, "search_runs": 3, "create_logged": 3, "change_logged": 3, "delete_logged": 1, "search_logged": 2, "create_model": 3, "create_version": 5, "change_model": 4, "change_version": 5,
    "delete_from_registry": 2, "look_at_registry": 4, "files_of_run": 4,
}


def walk(pair, seed, steps):
    """Goes through these steps until a difference."""
    sequence = Sequence(pair, seed)
    before = len(pair.differences)
    for index in steps:
        sequence.step(index)
        if len(pair.differences) > before:
            return sequence, index
    sequence.everything()
    return sequence, (None if len(pair.differences) == before else LENGTH)


def smaller(seed, steps):
    """Leaves steps out while a difference remains."""
    size = max(1, len(steps) // 2)
    while True:
        at = 0
        while at < len(steps):
            fewer = steps[:at] + steps[at + size :]
            quiet = Pair(*servers(), only="\0 nothing is shown")
            sys.stdout, kept = open(os.devnull, "w"), sys.stdout
            try:
                walk(quiet, seed, fewer)
            finally:
                sys.stdout.close()
                sys.stdout = kept
            if quiet.differences:
                steps = fewer
            else:
                at += size
        if size == 1:
            return steps
        size //= 2


def main():
    p = pair()
    total = 0
    for seed in SEEDS:
        sequence, failed = walk(p, seed, list(range(LENGTH)))
        total += 1
        print(f"seed {seed}: {len(sequence.calls)} calls{'' if failed is None else ', A DIFFERENCE'}")
        if failed is not None:
            steps = smaller(seed, list(range(min(failed + 1, LENGTH))))
            print(f"\nSMALLEST for seed {seed}: steps {steps}")
            again, _ = walk(p, seed, steps)
            print("\n".join(f"    {c[:600]}" for c in again.calls))
    print(f"{total} sequences of {LENGTH} steps")
    p.end("sequences")


if __name__ == "__main__":
    main()
