"""One data set, put into both servers: what `filters.py` searches."""

import random

from pair import unique

BEGAN = 1_700_000_000_000
STATUSES = ["FINISHED", "FINISHED", "FAILED", "RUNNING", "KILLED", "SCHEDULED"]
# Names that a LIKE, a quote or a sort may take wrong.
RUN_NAMES = ["plain", "Plain", "PLAIN two", "100%", "under_score", "it is \"quoted\"", "naïve Ünï", "a.b", "tab-0", "10", "9", "Zeta", "zeta"]


class Data:
    """What was put in, by the marks of `pair`."""

    def __init__(self, pair):
        self.pair = pair
        self.prefix = unique("peer")
        self.experiments, self.runs, self.models, self.versions, self.logged = {}, [], {}, [], []
        self.put_experiments()
        self.put_logged_models()
        self.put_runs()
        self.put_registry()

    def name(self, word):
        return f"{self.prefix}-{word}"

    def put_experiments(self):
        kinds = {
            "alpha": [{"key": "team", "value": "red"}, {"key": "odd.key with/slash", "value": "1"}],
            "beta": [{"key": "team", "value": "blue"}, {"key": "note", "value": "100%_x"}],
            "Gamma": [],
            "gone": [{"key": "team", "value": "red"}],
            "naïve": [{"key": "team", "value": "Red"}, {"key": "empty", "value": ""}],
        }
        for word, tags in kinds.items():
            made = self.pair.post("experiments/create", {"name": self.name(word), "tags": tags})
            self.experiments[word] = made.ref("experiment_id", f"exp-{word}")
        self.pair.post("experiments/delete", {"experiment_id": self.experiments["gone"]})
        self.pair.post("experiments/set-experiment-tag", {"experiment_id": self.experiments["beta"], "key": "late", "value": "yes"})

    def put_logged_models(self):
        made = self.pair.post("runs/create", {"experiment_id": self.experiments["alpha"], "start_time": BEGAN - 1000, "run_name": "source"})
        self.source = made.ref("run.info.run_id", "source-run")
        luck = random.Random(7)
        for i in range(14):
            where = self.experiments[["alpha", "alpha", "beta"][i % 3]]
            fields = {
                "experiment_id": where,
                "name": ["tree", "Tree", "net_1", "net-2", "ünï"][i % 5],
                "params": [{"key": "depth", "value": str(i % 4)}, {"key": "odd key", "value": luck.choice("abc")}][: i % 3],
                "tags": [{"key": "stage", "value": luck.choice(["dev", "Dev", "prod"])}, {"key": "a/b.c", "value": str(i)}][: (i + 1) % 3],
            }
            if i % 3 != 1:
                fields["source_run_id"] = self.source
            if i % 4:
                fields["model_type"] = ["agent", "classifier", "Classifier"][i % 3]
            made = self.pair.post("logged-models", fields)
            mark = made.ref("model.info.model_id", f"logged{i}")
            self.logged.append(mark)
            if i % 5 != 4:
                status = "LOGGED_MODEL_READY" if i % 5 != 3 else "LOGGED_MODEL_UPLOAD_FAILED"
                self.pair.patch(f"logged-models/{mark}", {"model_id": mark, "status": status})

    def put_runs(self):
        luck = random.Random(11)
        for i in range(42):
            where = self.experiments[["alpha", "beta", "Gamma"][luck.randrange(3)] if i % 7 else "alpha"]
            tags = [{"key": "kind", "value": luck.choice(["a", "A", "b", "100%", "x_y", ""])}] if i % 4 else []
            if i % 3 == 0:
                tags.append({"key": "odd key.with/all-of:it", "value": f"v{i % 2}"})
            if i % 9 == 0:
                tags.append({"key": "mlflow.user", "value": "ada"})
            made = self.pair.post(
                "runs/create",
                {
                    "experiment_id": where,
                    "user_id": luck.choice(["ada", "Bob", "eve"]) if i % 5 else "",
                    "run_name": RUN_NAMES[i % len(RUN_NAMES)],
                    "start_time": BEGAN + (i * 7919 % 43) * 1000,
                    "tags": tags,
                },
            )
            run = made.ref("run.info.run_id", f"run{i}")
            self.runs.append(run)
            self.put_content(luck, i, run)
            if i % 6:
                end = BEGAN + i * 5000 if i % 4 else None
                fields = {"run_id": run, "status": STATUSES[i % len(STATUSES)], "end_time": end}
                self.pair.post("runs/update", {k: v for k, v in fields.items() if v is not None})
        for i in (5, 17, 23, 30):
            self.pair.post("runs/delete", {"run_id": self.runs[i]})

    def put_content(self, luck, i, run):
        metrics, at = [], BEGAN + i
        if i % 5:
            value = {3: "NaN", 4: "Infinity", 7: "-Infinity"}.get(i % 11, luck.randrange(8) / 4)
            metrics.append({"key": "acc", "value": value, "timestamp": at, "step": 0})
        if i % 2:
            metrics += [{"key": "loss", "value": luck.choice([0.5, 0.25, -1.0, 0.0]), "timestamp": at + s, "step": s} for s in range(i % 4 + 1)]
        if i % 6 == 1:
            metrics.append({"key": "odd metric/key 1", "value": float(i % 3), "timestamp": at, "step": 1})
        if i % 4 == 2:
            metrics.append(
                {"key": "f1", "value": i / 10, "timestamp": at, "step": i % 3, "model_id": self.logged[i % len(self.logged)]}
                | ({"dataset_name": "train", "dataset_digest": f"d{i % 2}"} if i % 8 == 2 else {})
            )
        params = [{"key": "lr", "value": luck.choice(["0.1", "0.01", "1e-3", "None", ""])}] if i % 3 else []
        params += [{"key": "depth", "value": str(i % 12)}] if i % 2 == 0 else []
        params += [{"key": "odd param.key/1", "value": "it's"}] if i % 8 == 0 else []
        self.pair.post("runs/log-batch", {"run_id": run, "metrics": metrics, "params": params})
        if i % 4 == 0:
            context = [{"key": "mlflow.data.context", "value": ["training", "eval", "Training"][i // 4 % 3]}] if i % 5 else []
            dataset = {"name": ["train", "test", "Train"][i // 4 % 3], "digest": f"d{i % 3}", "source_type": "local", "source": "{}"}
            datasets = [{"tags": context, "dataset": dataset}]
            if i % 16 == 0:
                extra = {"name": "second", "digest": "d9", "source_type": "code", "source": "x", "schema": "{}", "profile": "p"}
                datasets.append({"tags": [{"key": "k", "value": "v"}], "dataset": extra})
            self.pair.post("runs/log-inputs", {"run_id": run, "datasets": datasets})
        if i % 10 == 1:
            self.pair.post("runs/outputs", {"run_id": run, "models": [{"model_id": self.logged[i % 14], "step": i}]})

    def put_registry(self):
        kinds = {
            "fraud": [{"key": "task", "value": "tabular"}, {"key": "odd key/1", "value": "x"}],
            "Fraud": [{"key": "task", "value": "Tabular"}],
            "churn_1": [{"key": "task", "value": "100%"}],
            "churn%2": [],
            "naïve model": [{"key": "empty", "value": ""}],
            "prompt": [{"key": "mlflow.prompt.is_prompt", "value": "true"}],
            "no prompt": [{"key": "mlflow.prompt.is_prompt", "value": "false"}],
        }
        for word, tags in kinds.items():
            fields = {"name": self.name(word), "tags": tags, "description": f"about {word}" if tags else ""}
            self.pair.post("registered-models/create", fields)
        for i in range(11):
            word = ["fraud", "fraud", "Fraud", "churn_1", "fraud", "churn_1", "naïve model"][i % 7]
            run = self.runs[i]
            fields = {
                "name": self.name(word),
                "source": f"mlflow-artifacts:/{self.experiments['alpha']}/elsewhere" if i == 3 else f"s3://bucket/{word}/{i % 4}",
                "tags": [{"key": "v", "value": str(i % 3)}, {"key": "odd key.1", "value": "it is"}][: i % 3],
                "description": f"version {i}" if i % 2 else "",
            }
            if i % 3 != 1:
                fields["run_id"] = run
            if i == 3:
                # Not the place of that run: refused by both.
                self.pair.post("model-versions/create", fields)
                continue
            made = self.pair.post("model-versions/create", fields)
            self.versions.append((fields["name"], made.ref("model_version.version", f"version{i}")))
        prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}, {"key": "mlflow.prompt.text", "value": "Hi {{name}}"}]
        self.pair.post("model-versions/create", {"name": self.name("prompt"), "source": "dummy-source", "tags": prompt})
        fraud = self.name("fraud")
        for version, stage in (("1", "Production"), ("2", "staging"), ("3", "Production")):
            fields = {"name": fraud, "version": version, "stage": stage, "archive_existing_versions": version == "3"}
            self.pair.post("model-versions/transition-stage", fields)
        for alias, version in (("champion", "1"), ("Challenger", "2"), ("champion", "3")):
            self.pair.post("registered-models/alias", {"name": fraud, "alias": alias, "version": version})
        self.pair.delete("model-versions/delete", {"name": fraud, "version": "2"})
        self.pair.patch("registered-models/update", {"name": self.name("churn_1"), "description": "moved last"})
