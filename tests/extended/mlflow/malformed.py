"""Bodies and queries that a server must refuse, or take in a way of its own: the same status, code and words are wanted."""

import json

from pair import ARTIFACTS, pair, unique
from world import World

p = pair()
count = 0
NOW = 1_700_000_000_000


worlds = []


def world():
    worlds.append(World(p))
    return worlds[-1]


def bad(method, path, body=None, **more):
    global count
    count += 1
    both = p.call(method, path, body, note=f"malformed {count}", **more)
    if method != "GET" and (both.a.status == 200) != (both.b.status == 200):
        # Said once; the calls after it are compared on equal ground.
        for w in worlds:
            w.renew()


# Every call, with each of its fields in turn missing, empty, or of another type.


def calls(w):
    """Method, path, fields that make it right; the fields of a GET go into the query."""
    kv = {"key": "k", "value": "v"}
    searched = World(p)
    searched.run, searched.logged
    yield "POST", "experiments/create", {"name": unique("x"), "artifact_location": "s3://b/x", "tags": [kv]}
    yield "GET", "experiments/get", {"experiment_id": w.experiment}
    yield "GET", "experiments/get-by-name", {"experiment_name": f"{w.prefix}-e"}
    yield "POST", "experiments/search", {"max_results": 1, "filter": f"name = '{w.prefix}-e'", "order_by": ["name"], "view_type": "ALL", "page_token": ""}
    yield "GET", "experiments/search", {"max_results": 1, "filter": f"name = '{w.prefix}-e'", "order_by": ["name"], "view_type": "ALL", "page_token": ""}
    yield "POST", "experiments/update", {"experiment_id": w.experiment, "new_name": unique("y")}
    yield "POST", "experiments/set-experiment-tag", {"experiment_id": w.experiment} | kv
    yield "POST", "experiments/delete-experiment-tag", {"experiment_id": w.experiment, "key": "k"}
    yield "POST", "runs/create", {"experiment_id": w.experiment, "user_id": "u", "run_name": "n", "start_time": NOW, "tags": [kv]}
    yield "GET", "runs/get", {"run_id": w.run}
    yield "GET", "runs/get", {"run_uuid": w.run}
    yield "POST", "runs/update", {"run_id": w.run, "status": "FINISHED", "end_time": NOW, "run_name": "z"}
    yield "POST", "runs/log-parameter", {"run_id": w.run} | kv
    yield "POST", "runs/log-metric", {"run_id": w.run, "key": "m", "value": 1.5, "timestamp": NOW, "step": 2, "model_id": w.logged, "dataset_name": "d", "dataset_digest": "g"}
    metric = {"key": "m", "value": 1.5, "timestamp": NOW, "step": 2}
    yield "POST", "runs/log-batch", {"run_id": w.run, "metrics": [metric], "params": [{"key": "p", "value": "1"}], "tags": [kv]}
    yield "POST", "runs/set-tag", {"run_id": w.run} | kv
    yield "POST", "runs/delete-tag", {"run_id": w.run, "key": "k"}
    dataset = {"name": "d", "digest": "g", "source_type": "local", "source": "s", "schema": "{}", "profile": "{}"}
    yield "POST", "runs/log-inputs", {"run_id": w.run, "datasets": [{"tags": [kv], "dataset": dataset}], "models": [{"model_id": w.logged}]}
    yield "POST", "runs/outputs", {"run_id": w.run, "models": [{"model_id": w.logged, "step": 1}]}
    model = {"artifact_path": "m", "flavors": {}, "utc_time_created": "2024-01-01 00:00:00", "run_id": "r", "model_uuid": "u"}
    yield "POST", "runs/log-model", {"run_id": w.run, "model_json": json.dumps(model)}
    search = {"experiment_ids": [searched.experiment], "filter": "", "run_view_type": "ALL", "max_results": 5, "order_by": ["start_time"], "page_token": ""}
    yield "POST", "runs/search", search
    yield "GET", "metrics/get-history", {"run_id": w.run, "metric_key": "m", "max_results": 5, "page_token": ""}
    yield "GET", "metrics/get-history-bulk-interval", {"run_ids": [w.run], "metric_key": "m", "start_step": 0, "end_step": 5, "max_results": 3}
    yield "GET", "artifacts/list", {"run_id": w.run, "path": "x", "page_token": ""}
    yield "POST", "logged-models", {"experiment_id": w.experiment, "name": "n", "model_type": "t", "source_run_id": w.run, "params": [kv], "tags": [kv]}
    yield "GET", f"logged-models/{w.logged}", {}
    yield "PATCH", f"logged-models/{w.logged}", {"model_id": w.logged, "status": "LOGGED_MODEL_READY"}
    yield "PATCH", f"logged-models/{w.logged}/tags", {"tags": [kv]}
    yield "POST", f"logged-models/{w.logged}/params", {"model_id": w.logged, "params": [{"key": "p", "value": "1"}]}
    yield "DELETE", f"logged-models/{w.logged}/tags/k", {}
    yield "GET", f"logged-models/{w.logged}/artifacts/directories", {"artifact_directory_path": "x", "page_token": ""}
    yield "POST", "logged-models/search", {"experiment_ids": [searched.experiment], "filter": "", "max_results": 5, "order_by": [{"field_name": "name"}], "page_token": "", "datasets": []}
    yield "POST", "registered-models/create", {"name": unique("x"), "tags": [kv], "description": "d"}
    yield "GET", "registered-models/get", {"name": w.model}
    yield "PATCH", "registered-models/update", {"name": w.model, "description": "d"}
    yield "GET", "registered-models/search", {"filter": f"name = '{w.model}'", "max_results": 5, "order_by": ["name"], "page_token": ""}
    yield "POST", "registered-models/get-latest-versions", {"name": w.model, "stages": ["None"]}
    yield "GET", "registered-models/get-latest-versions", {"name": w.model, "stages": ["None"]}
    yield "POST", "registered-models/set-tag", {"name": w.model} | kv
    yield "DELETE", "registered-models/delete-tag", {"name": w.model, "key": "k"}
    yield "POST", "registered-models/alias", {"name": w.model, "alias": "a", "version": "1"}
    yield "GET", "registered-models/alias", {"name": w.model, "alias": "best"}
    yield "POST", "model-versions/create", {"name": w.model, "source": "s3://b/m", "run_id": w.run, "tags": [kv], "run_link": "http://r", "description": "d"}
    yield "POST", "model-versions/create", {"name": w.model, "source": f"models:/{w.logged}", "model_id": w.logged}
    yield "GET", "model-versions/get", {"name": w.model, "version": "1"}
    yield "GET", "model-versions/get-download-uri", {"name": w.model, "version": "1"}
    yield "PATCH", "model-versions/update", {"name": w.model, "version": "1", "description": "d"}
    yield "POST", "model-versions/transition-stage", {"name": w.model, "version": "1", "stage": "Staging", "archive_existing_versions": False}
    yield "POST", "model-versions/set-tag", {"name": w.model, "version": "1"} | kv
    yield "DELETE", "model-versions/delete-tag", {"name": w.model, "version": "1", "key": "k"}
    yield "GET", "model-versions/search", {"filter": f"name = '{w.model}'", "max_results": 5, "order_by": ["name"], "page_token": ""}
    yield "DELETE", "registered-models/alias", {"name": w.model, "alias": "best"}
    yield "DELETE", "model-versions/delete", {"name": w.model, "version": "1"}
    yield "POST", "registered-models/rename", {"name": w.model, "new_name": unique("z")}
    yield "DELETE", "registered-models/delete", {"name": w.model}
    yield "DELETE", f"logged-models/{w.logged}", {}
    yield "POST", "runs/delete", {"run_id": w.run}
    yield "POST", "runs/restore", {"run_id": w.run}
    yield "POST", "experiments/delete", {"experiment_id": w.experiment}
    yield "POST", "experiments/restore", {"experiment_id": w.experiment}


def mine(answer):
    """A search of everything finds what others made, too: what is compared is that it finds."""
    found = [listed for listed in ("experiments", "registered_models", "model_versions") if listed in answer]
    return found or answer


EVERYTHING = ("experiments/search", "registered-models/search", "model-versions/search")


def each_field(method, path, fields):
    scope = mine if path in EVERYTHING else None
    for name, value in fields.items():
        rest = {k: v for k, v in fields.items() if k != name}
        bad(method, path, rest, scope=scope)
        for wrong in (None, "", 5, True, [], {}, unique("x"), [5], [None], {"a": 1}):
            if type(wrong) is type(value) and not isinstance(wrong, (str, list)):
                continue
            bad(method, path, rest | {name: wrong}, scope=scope)


def each_query(path, fields):
    scope = mine if path in EVERYTHING else None
    for name, value in fields.items():
        rest = {k: v for k, v in fields.items() if k != name}
        bad("GET", path, query=rest, scope=scope)
        for wrong in ("", unique("x"), "999999", "-1", "1.5", "true", ["a", "b"], "é\u0000"):
            bad("GET", path, query=rest | {name: wrong}, scope=scope)


def whole_bodies(method, path):
    for raw in (b"", b"{", b"[]", b"null"):
        bad(method, path, raw=raw)
    bad(method, path, raw=b"{}", headers={"Content-Type": "text/plain"})
    if path not in ("runs/create", "runs/log-batch", "runs/log-metric", "registered-models/create", "registered-models/update", "registered-models/delete-tag"):
        return
    for raw in (b"5", b'"x"', b'"{}"', b"{} {}", b"\xff\xfe", b'{"a": NaN}', b'{"a":1,"a":2}', b'{"\\ud800": 1}', b"[" * 2000):
        bad(method, path, raw=raw)
    bad(method, path, raw=json.dumps(json.dumps({"unknown": 1})).encode())
    bad(method, path, raw=b"{}", headers={"Content-Type": ""})
    bad(method, path, raw=b"a=b", headers={"Content-Type": "application/x-www-form-urlencoded"})
    bad(method, path, raw=b"{}", headers={"Content-Type": "application/json; charset=utf-8"})


for method, path, fields in list(calls(world())):
    bad(method, path, **({"query": fields} if method == "GET" else {"body": fields}))
    if method == "GET":
        each_query(path, fields)
        bad("GET", path, scope=mine if path in EVERYTHING else None)
        bad("GET", path, query=fields | {"unknown": "1"})
    else:
        each_field(method, path, fields)
        whole_bodies(method, path)
        bad(method, path, fields | {"unknown": [1]})
    for other in ("GET", "POST", "PUT", "DELETE") + (("OPTIONS", "HEAD", "TRACE", "PATCH") if path == "runs/get" else ()):
        if other != method and (other, path) not in {("GET", "experiments/search"), ("POST", "experiments/search"), ("DELETE", path)}:
            bad(other, path, query={})

# Keys and values.
w = world()
KEYS = ["", " ", "a b", "a/b", "/a", "a/", "a//b", "./a", "../a", "a/../b", "..", ".", "a:b", "a@b", "a\\b", "a\nb", "a\n", "名", 'a"b', "a\tb", "-", "x" * 250, "x" * 251, "é" * 250]
for key in KEYS:
    bad("POST", "runs/log-metric", {"run_id": w.run, "key": key, "value": 1, "timestamp": NOW})
    bad("POST", "runs/log-parameter", {"run_id": w.run, "key": key, "value": "1"})
    bad("POST", "runs/set-tag", {"run_id": w.run, "key": key, "value": "1"})
    bad("POST", "runs/delete-tag", {"run_id": w.run, "key": key})
    bad("POST", "runs/log-batch", {"run_id": w.run, "metrics": [{"key": "ok", "value": 1, "timestamp": NOW}, {"key": key, "value": 1, "timestamp": NOW}]})
    bad("POST", "runs/log-batch", {"run_id": w.run, "params": [{"key": "ok", "value": "1"}, {"key": key, "value": "1"}]})
    bad("POST", "runs/log-batch", {"run_id": w.run, "tags": [{"key": "ok", "value": "1"}, {"key": key, "value": "1"}]})
    bad("POST", "runs/create", {"experiment_id": w.experiment, "tags": [{"key": key, "value": "1"}]})
    bad("POST", "experiments/set-experiment-tag", {"experiment_id": w.experiment, "key": key, "value": "1"})
    bad("POST", "registered-models/set-tag", {"name": w.model, "key": key, "value": "1"})
    bad("POST", "model-versions/set-tag", {"name": w.model, "version": "1", "key": key, "value": "1"})
    bad("PATCH", f"logged-models/{w.logged}/tags", {"tags": [{"key": key, "value": "1"}]})
    bad("POST", "logged-models", {"experiment_id": w.experiment, "params": [{"key": key, "value": "1"}]})
    bad("POST", "runs/log-inputs", {"run_id": w.run, "datasets": [{"tags": [{"key": key, "value": "1"}], "dataset": {"name": f"d{len(key)}{key[:9]}", "digest": "g", "source_type": "t", "source": "s"}}]})
p.get("runs/get", {"run_id": w.run})
LENGTHS = (500, 501, 5000, 6000, 6001, 8000, 8001, 20000, 20001, 100_000, 100_001)
for length in LENGTHS:
    value = "v" * length
    bad("POST", "runs/log-parameter", {"run_id": w.run, "key": f"long{length}", "value": value})
    bad("POST", "runs/set-tag", {"run_id": w.run, "key": f"long{length}", "value": value})
    bad("POST", "runs/log-batch", {"run_id": w.run, "params": [{"key": f"batch{length}", "value": value}], "tags": [{"key": f"batch{length}", "value": value}]})
    bad("POST", "experiments/set-experiment-tag", {"experiment_id": w.experiment, "key": "long", "value": value})
    bad("POST", "experiments/create", {"name": (unique("n") + value)[:length]})
    bad("POST", "registered-models/set-tag", {"name": w.model, "key": "long", "value": value})
    bad("POST", "model-versions/set-tag", {"name": w.model, "version": "1", "key": "long", "value": value})
    bad("POST", "model-versions/set-tag", {"name": w.model, "version": "1", "key": "mlflow.prompt.text", "value": value})
    bad("PATCH", f"logged-models/{w.logged}/tags", {"tags": [{"key": "long", "value": value}]})
    bad("POST", f"logged-models/{w.logged}/params", {"model_id": w.logged, "params": [{"key": f"long{length}", "value": value}]})
    bad("PATCH", "registered-models/update", {"name": w.model, "description": value})
p.get("runs/get", {"run_id": w.run})
p.get("experiments/get", {"experiment_id": w.experiment})
for field, length in (("name", 500), ("digest", 36), ("source", 65535), ("schema", 1_048_575), ("profile", 16_777_215), ("source_type", 36)):
    for size in (length, length + 1):
        dataset = {"name": f"len-{field}-{size}", "digest": "g", "source_type": "t", "source": "s"} | {field: "x" * size}
        if size < 10_000_000:
            bad("POST", "runs/log-inputs", {"run_id": w.run, "datasets": [{"dataset": dataset}]})
for key, value in (("k" * 255, "v"), ("k" * 256, "v"), ("k", "v" * 500), ("k", "v" * 501)):
    dataset = {"name": f"tag-{len(key)}-{len(value)}", "digest": "g", "source_type": "t", "source": "s"}
    bad("POST", "runs/log-inputs", {"run_id": w.run, "datasets": [{"tags": [{"key": key, "value": value}], "dataset": dataset}]})

# Numbers.
searched = World(p)
searched.run, searched.logged
for value in ("NaN", "Infinity", "-Infinity", "nan", "inf", "-inf", "Inf", "1", "1.5", "1e400", "-1e400", " 1", "1 ", "0x10", "1_000", "", "x", 1e308, 10**400, -0.0, 5e-324, True, None, [1], {"a": 1}, "١"):
    bad("POST", "runs/log-metric", {"run_id": w.run, "key": "number", "value": value, "timestamp": NOW})
    bad("POST", "runs/log-batch", {"run_id": w.run, "metrics": [{"key": "number2", "value": value, "timestamp": NOW}]})
for value in (0, -1, 2**63 - 1, 2**63, -(2**63), 1.0, 1.5, "5", "-5", "5.0", "1e3", " 5", "x", "", True, None, [], {}):
    bad("POST", "runs/log-metric", {"run_id": w.run, "key": "time", "value": 1, "timestamp": value})
    bad("POST", "runs/log-metric", {"run_id": w.run, "key": "step", "value": 1, "timestamp": NOW, "step": value})
    bad("POST", "runs/log-batch", {"run_id": w.run, "metrics": [{"key": "time2", "value": 1, "timestamp": value, "step": value}]})
    bad("POST", "runs/create", {"experiment_id": w.experiment, "start_time": value, "run_name": "t"})
    bad("POST", "runs/update", {"run_id": w.run, "end_time": value})
    bad("GET", "metrics/get-history", query={"run_id": w.run, "metric_key": "step", "max_results": str(value)})
    bad("GET", "metrics/get-history-bulk-interval", query={"run_ids": w.run, "metric_key": "step", "max_results": str(value)})
    bad("GET", "metrics/get-history-bulk-interval", query={"run_ids": w.run, "metric_key": "step", "start_step": str(value), "end_step": 5})
    bad("POST", "runs/search", {"experiment_ids": [searched.experiment], "max_results": value})
    bad("POST", "experiments/search", {"filter": f"name = '{w.prefix}-e'", "max_results": value})
    bad("GET", "experiments/search", query={"filter": f"name = '{w.prefix}-e'", "max_results": str(value)})
    bad("GET", "registered-models/search", query={"filter": f"name = '{w.model}'", "max_results": str(value)})
    bad("GET", "model-versions/search", query={"filter": f"name = '{w.model}'", "max_results": str(value)})
    bad("POST", "logged-models/search", {"experiment_ids": [searched.experiment], "max_results": value})
for key in ("number", "number2", "time", "time2", "step"):
    p.get("metrics/get-history", {"run_id": w.run, "metric_key": key})
    bad("GET", "metrics/get-history-bulk-interval", query={"run_ids": w.run, "metric_key": key})
bad("GET", "metrics/get-history-bulk-interval", query={"run_ids": w.run, "metric_key": "step", "start_step": 5, "end_step": 1})
bad("GET", "metrics/get-history-bulk-interval", query={"run_ids": w.run, "metric_key": "step", "start_step": 1})
bad("GET", "metrics/get-history-bulk-interval", query={"run_ids": [w.run] * 101, "metric_key": "step"})
bad("GET", "metrics/get-history-bulk-interval", query={"run_ids": [w.run, "nope"], "metric_key": "step"})
bad("GET", "metrics/get-history", query={"run_id": "nope", "metric_key": "step"})
for token in ("x", "e30=", "eyJvZmZzZXQiOiAxfQ==", "eyJvZmZzZXQiOiAtMX0=", "eyJvZmZzZXQiOiAiYSJ9", "=", "é"):
    bad("GET", "metrics/get-history", query={"run_id": w.run, "metric_key": "step", "max_results": 2, "page_token": token})

# Ids.
IDS = ["nope", "", " ", "0" * 32, "x" * 257, "a/b", "../x", "é", "a b", "-a", "9" * 30, "1.5", "-1", "+0", " 0", "0x0", "٠"]
for id in IDS:
    bad("GET", "experiments/get", query={"experiment_id": id})
    bad("POST", "runs/create", {"experiment_id": id, "run_name": "id"})
    bad("POST", "experiments/update", {"experiment_id": id if id.strip(" +0٠") else "nope", "new_name": unique("n")})
    bad("POST", "experiments/set-experiment-tag", {"experiment_id": id if id.strip(" +0x٠") else "nope", "key": "k", "value": "v"})
    bad("POST", "experiments/delete-experiment-tag", {"experiment_id": id, "key": "never"})
    bad("POST", "experiments/restore", {"experiment_id": id})
    bad("POST", "runs/search", {"experiment_ids": [id], "filter": "attributes.run_name = 'no such run'"})
    bad("POST", "logged-models", {"experiment_id": id, "name": "id"})
    bad("GET", "runs/get", query={"run_id": id})
    bad("GET", "runs/get", query={"run_uuid": id})
    for path, fields in (
        ("runs/update", {"status": "FINISHED"}), ("runs/delete", {}), ("runs/restore", {}), ("runs/log-parameter", {"key": "k", "value": "v"}),
        ("runs/log-metric", {"key": "k", "value": 1, "timestamp": 1}), ("runs/log-batch", {}), ("runs/log-batch", {"params": [{"key": "k", "value": "v"}]}), ("runs/set-tag", {"key": "k", "value": "v"}),
        ("runs/delete-tag", {"key": "k"}), ("runs/log-inputs", {"datasets": []}), ("runs/outputs", {"models": []}), ("runs/outputs", {"models": [{"model_id": "m-x", "step": 0}]}),
    ):
        bad("POST", path, {"run_id": id} | fields)
    bad("GET", "artifacts/list", query={"run_id": id})
    bad("POST", "runs/log-inputs", {"run_id": w.run, "models": [{"model_id": id}]})
    bad("POST", "runs/log-metric", {"run_id": w.run, "key": "k", "value": 1, "timestamp": 1, "model_id": id})
    # MLflow keeps a part of a batch that it refuses.
    bad("POST", "runs/log-batch", {"run_id": World(p).run, "params": [{"key": "with" + str(len(id)), "value": "v"}], "metrics": [{"key": "k", "value": 1, "timestamp": 1, "model_id": id}]})
    quoted = id.encode().hex(" ").replace(" ", "%")
    if quoted:
        bad("GET", f"logged-models/%{quoted}")
        bad("PATCH", f"logged-models/%{quoted}", {"model_id": id, "status": "LOGGED_MODEL_READY"})
        bad("PATCH", f"logged-models/%{quoted}/tags", {"tags": [{"key": "k", "value": "v"}]})
        bad("DELETE", f"logged-models/%{quoted}/tags/k")
        bad("DELETE", f"logged-models/%{quoted}")
        bad("GET", f"logged-models/%{quoted}/artifacts/directories")
p.get("runs/get", {"run_id": w.run})

# What was deleted.
gone = World(p)
for path, fields in (
    ("runs/update", {"status": "FINISHED"}), ("runs/update", {"run_name": "n"}), ("runs/log-parameter", {"key": "k", "value": "v"}), ("runs/log-metric", {"key": "k", "value": 1, "timestamp": 1}),
    ("runs/log-batch", {}), ("runs/log-batch", {"params": [{"key": "k", "value": "v"}]}), ("runs/set-tag", {"key": "k", "value": "v"}), ("runs/delete-tag", {"key": "k"}), ("runs/log-inputs", {"datasets": []}),
    ("runs/outputs", {"models": []}), ("runs/log-model", {"model_json": "{}"}), ("runs/delete", {}),
):
    bad("POST", path, {"run_id": gone.deleted_run} | fields)
bad("GET", "runs/get", query={"run_id": gone.deleted_run})
bad("GET", "metrics/get-history", query={"run_id": gone.deleted_run, "metric_key": "k"})
gone.run, gone.logged
p.post("experiments/delete", {"experiment_id": gone.experiment})
for path, fields in (
    ("runs/create", {}), ("experiments/update", {"new_name": "n"}), ("experiments/set-experiment-tag", {"key": "k", "value": "v"}), ("experiments/delete-experiment-tag", {"key": "k"}), ("experiments/delete", {}), ("logged-models", {"name": "n"}),
):
    bad("POST", path, {"experiment_id": gone.experiment} | fields)
bad("POST", "experiments/create", {"name": f"{gone.prefix}-e"})
bad("GET", "experiments/get-by-name", query={"experiment_name": f"{gone.prefix}-e"})
bad("GET", "runs/get", query={"run_id": gone.run})
bad("GET", f"logged-models/{gone.logged}")
bad("POST", "experiments/restore", {"experiment_id": gone.experiment})
bad("POST", "experiments/restore", {"experiment_id": gone.experiment})
bad("GET", "runs/get", query={"run_id": gone.run})
bad("POST", "runs/restore", {"run_id": gone.run})
bad("DELETE", f"logged-models/{gone.logged}")
bad("GET", f"logged-models/{gone.logged}")
bad("GET", f"logged-models/{gone.logged}", query={"allow_deleted": "true"})
bad("DELETE", f"logged-models/{gone.logged}")
bad("PATCH", f"logged-models/{gone.logged}", {"model_id": gone.logged, "status": "LOGGED_MODEL_READY"})
bad("PATCH", f"logged-models/{gone.logged}/tags", {"tags": [{"key": "k", "value": "v"}]})

# Runs: names, states, params, batches.
for fields in (
    {"run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]}, {"run_name": "a", "tags": [{"key": "mlflow.runName", "value": "a"}]}, {"tags": [{"key": "mlflow.runName", "value": "b"}]}, {"run_name": ""}, {"run_name": " "},
    {"run_name": "x" * 251}, {"tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]}, {"user_id": "u" * 300}, {"tags": [{"key": "k"}]}, {"tags": [{"value": "v"}]}, {"runName": "camel"}, {"runName": "camel", "run_name": "snake"},
):
    bad("POST", "runs/create", {"experiment_id": w.experiment} | fields)
bad("POST", "runs/create", {})
for status in ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED", "NOPE", "finished", "", "1", 1, 3, 5, 6, 0, -1):
    bad("POST", "runs/update", {"run_id": w.run, "status": status})
    p.get("runs/get", {"run_id": w.run}, scope=lambda a: a.get("run", {}).get("info"))
for name in ("", " ", "x" * 300, "é", None):
    bad("POST", "runs/update", {"run_id": w.run, "run_name": name})
    bad("POST", "runs/set-tag", {"run_id": w.run, "key": "mlflow.runName", "value": name})
    bad("POST", "runs/log-batch", {"run_id": w.run, "tags": [{"key": "mlflow.runName", "value": name}]})
bad("POST", "runs/delete-tag", {"run_id": w.run, "key": "mlflow.runName"})
p.get("runs/get", {"run_id": w.run}, scope=lambda a: a.get("run", {}).get("info"))
for first, second in (("a", "b"), ("a", "a"), ("", "b"), ("b", ""), ("1", "1.0"), ("x" * 6000, "x" * 6001)):
    key = f"p-{first[:3]}-{second[:3]}"
    bad("POST", "runs/log-parameter", {"run_id": w.run, "key": key, "value": first})
    bad("POST", "runs/log-parameter", {"run_id": w.run, "key": key, "value": second})
    bad("POST", "runs/log-batch", {"run_id": w.run, "params": [{"key": key, "value": second}, {"key": key + "-new", "value": "1"}], "metrics": [{"key": "with-" + key, "value": 1, "timestamp": 1}]})
p.get("runs/get", {"run_id": w.run})
one = {"key": "k", "value": "v"}
for params in ([one, one], [one, {"key": "k", "value": "w"}], [one, one, one], [{"key": "q", "value": "1"}, {"key": "r"}], [{"key": "r"}], [{"value": "v"}], [{}], [{"key": None, "value": "v"}], [{"key": 5, "value": "v"}], [{"key": "s", "value": 5}], [{"key": "s", "value": None}], [None], ["k"], {"k": "v"}):
    bad("POST", "runs/log-batch", {"run_id": w.run, "params": params})
    bad("POST", "runs/log-batch", {"run_id": w.run, "tags": params})
for metrics in ([{"key": "k", "value": 1}], [{"key": "k", "timestamp": 1}], [{"value": 1, "timestamp": 1}], [{}], [None], [{"key": "k", "value": "x", "timestamp": 1}], [{"key": "k", "value": 1, "timestamp": "x"}], [{"key": "", "value": 1, "timestamp": 1}], [{"key": "k", "value": "", "timestamp": 1}], [{"key": "k", "value": 0, "timestamp": 0}], [{"key": "k", "value": 1, "timestamp": -1}], [{"key": 5, "value": 1, "timestamp": 1}]):
    bad("POST", "runs/log-batch", {"run_id": w.run, "metrics": metrics})
for metrics, params, tags in ((1000, 0, 0), (1001, 0, 0), (0, 100, 0), (0, 101, 0), (0, 0, 100), (0, 0, 101), (900, 50, 50), (900, 50, 51), (1001, 101, 101), (0, 0, 0)):
    bad("POST", "runs/log-batch", {
        "run_id": w.run, "metrics": [{"key": f"many{i % 7}", "value": i, "timestamp": i, "step": i} for i in range(metrics)],
        "params": [{"key": f"many{i}", "value": "1"} for i in range(params)], "tags": [{"key": f"many{i}", "value": "1"} for i in range(tags)],
    })
bad("POST", "runs/log-batch", {"run_id": w.run, "tags": [{"key": f"big{i}", "value": "x" * 8000} for i in range(100)], "params": [{"key": f"big{i}", "value": "x" * 6000} for i in range(100)]})
bad("POST", "runs/log-batch", {"run_id": w.run, "metrics": [{"key": "same", "value": 1, "timestamp": 1}] * 3})
bad("POST", "runs/log-batch", {"run_id": w.run, "metrics": [{"key": "same", "value": 1, "timestamp": 1}, {"key": "same", "value": "NaN", "timestamp": 1}, {"key": "same", "value": "NaN", "timestamp": 1}]})
bad("POST", "runs/log-batch", {"run_id": w.run, "tags": [{"key": "twice", "value": "1"}, {"key": "twice", "value": "2"}]})
bad("GET", "metrics/get-history", query={"run_id": w.run, "metric_key": "same"})
for model in ("{", "[]", "5", "{}", json.dumps({"artifact_path": "m"}), json.dumps({"artifact_path": "m", "flavors": {}, "utc_time_created": "x", "run_id": "r"}), json.dumps({"artifact_path": "m", "flavors": {}, "utc_time_created": "x", "run_id": "r", "zzz": 1})):
    bad("POST", "runs/log-model", {"run_id": w.run, "model_json": model})
for datasets in ([{}], [{"dataset": {}}], [{"dataset": {"name": "n"}}], [{"dataset": {"name": "n", "digest": "g"}}], [{"dataset": {"name": "n", "digest": "g", "source_type": "t"}}], [{"dataset": {"name": "", "digest": "g", "source_type": "t", "source": "s"}}], [{"tags": [{"key": "k"}], "dataset": {"name": "n1", "digest": "g", "source_type": "t", "source": "s"}}], [{"dataset": {"name": "n2", "digest": "g", "source_type": "t", "source": "s"}}] * 2, [{"dataset": None}], [None]):
    bad("POST", "runs/log-inputs", {"run_id": w.run, "datasets": datasets})
bad("POST", "runs/log-inputs", {"run_id": w.run, "datasets": [{"dataset": {"name": f"n{i}", "digest": "g", "source_type": "t", "source": "s"}} for i in range(1001)]})
for models in ([{}], [{"model_id": ""}], [{"model_id": w.logged}], [{"step": 1}], [None], [{"model_id": w.logged, "step": "x"}], [{"model_id": w.logged, "step": 3}, {"model_id": w.logged, "step": 3}]):
    bad("POST", "runs/outputs", {"run_id": w.run, "models": models})
p.get("runs/get", {"run_id": w.run})

# Experiments.
for name in ("", " ", None, 5, "Default", f"{w.prefix}-e", "x" * 500 + unique(""), "a/b" + unique(""), "../x" + unique(""), "é" + unique(""), "\t" + unique("")):
    bad("POST", "experiments/create", {"name": name})
    bad("GET", "experiments/get-by-name", query={"experiment_name": name if name is not None else ""}, scope=(lambda a: {"name": a.get("experiment", a).get("name")}) if name == "Default" else None)
for place in ("s3://b/x", "/tmp/x", "relative", "file:///tmp/x", "runs:/a/b", "models:/a/1", "mlflow-artifacts:/x", "http://h/x", "x" * 2049, "s3://b/../x", "s3://b/x?y=..", "s3://b/x#y", "nope://x", "", "dbfs:/x", "s3:x", "..", "file://host/x", "s3://b/%2e%2e/x"):
    # A relative place is of the server's working folder.
    made = p.post("experiments/create", {"name": unique("place"), "artifact_location": place}, note=f"place {place[:30]}")
    count += 1
    if made.a.status == 200 and ":" in place:
        bad("POST", "runs/create", {"experiment_id": made.ref("experiment_id", f"place{count}"), "run_name": "r"})
bad("POST", "experiments/create", {"name": unique("t"), "tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]})
bad("POST", "experiments/create", {"name": unique("t"), "tags": [{"key": "a@", "value": "1"}]})
bad("POST", "experiments/create", {"name": unique("t"), "tags": [{"key": "k"}]})
bad("POST", "experiments/create", {"name": unique("t"), "tags": [{"value": "v"}]})
bad("POST", "experiments/update", {"experiment_id": w.experiment, "new_name": "Default"})
bad("POST", "experiments/update", {"experiment_id": w.experiment, "new_name": "x" * 501})
for key in ("mlflow.experimentKind", "mlflow.note.content", "mlflow.trace.archivalRetention", "mlflow.trace.archiveNow", "mlflow.customView.x", "mlflow.artifactLocation"):
    for value in ("x", "{}", '{"type": "duration", "value": "30d"}'):
        bad("POST", "experiments/set-experiment-tag", {"experiment_id": w.experiment, "key": key, "value": value})

# The registry.
for name in ("", " ", "a/b", "a:b", "a b" + unique(""), "é" + unique(""), ".", "..", "./a", "a" * 256, "a" * 257 + unique(""), w.model, "\n", "a\\b" + unique(""), "a@1" + unique(""), "#x" + unique(""), "a%2Fb" + unique(""), "a?b" + unique("")):
    bad("POST", "registered-models/create", {"name": name})
    bad("GET", "registered-models/get", query={"name": name})
    bad("POST", "registered-models/rename", {"name": name if name != w.model else "nope", "new_name": unique("renamed")})
    bad("POST", "registered-models/rename", {"name": w.model, "new_name": name if name in ("", " ", "a/b", "a:b", ".", "..", "./a", w.model, "\n") else "a/b"})
    bad("GET", "registered-models/alias", query={"name": name, "alias": "best"})
    bad("GET", "model-versions/get", query={"name": name, "version": "1"})
    bad("POST", "model-versions/create", {"name": name if name != w.model else "nope", "source": "s3://b/x"})
    bad("POST", "registered-models/get-latest-versions", {"name": name})
    bad("POST", "registered-models/set-tag", {"name": name, "key": "k", "value": "v"})
    bad("DELETE", "registered-models/delete-tag", {"name": name, "key": "k"})
    bad("PATCH", "registered-models/update", {"name": name, "description": "d"})
    if name != w.model:
        bad("DELETE", "registered-models/delete", {"name": name})
for tags in ([{"key": "k", "value": "1"}, {"key": "k", "value": "2"}], [{"key": "a@", "value": "1"}], [{"key": "k"}], [{"value": "v"}], [{"key": "k", "value": "v" * 100_001}], [{"key": "mlflow.prompt.is_prompt", "value": "true"}]):
    name = unique("tags")
    bad("POST", "registered-models/create", {"name": name, "tags": tags})
    bad("POST", "registered-models/create", {"name": name, "tags": tags})
    bad("POST", "registered-models/create", {"name": name})
    bad("POST", "model-versions/create", {"name": w.model, "source": "s3://b/x", "tags": tags})
for alias in ("", "a", "a b", "a.b", "a/b", "a@b", "latest", "LATEST", "Latest", "v1", "V1", "v01", "v1a", "version1", "1", "é", "-", "_", "x" * 255, "x" * 256, "a\n", "champion"):
    bad("POST", "registered-models/alias", {"name": w.model, "alias": alias, "version": "1"})
    bad("GET", "registered-models/alias", query={"name": w.model, "alias": alias})
    bad("DELETE", "registered-models/alias", {"name": w.model, "alias": alias})
    bad("DELETE", "registered-models/alias", {"name": "nope", "alias": alias})
for version in ("0", "-1", "99", "1.0", "1.5", "x", "", " 1", "01", "1e0", "9" * 30, 1, "é", "latest", "None"):
    for method, path, fields in (
        ("POST", "registered-models/alias", {"alias": "w"}), ("PATCH", "model-versions/update", {"description": "d"}), ("POST", "model-versions/transition-stage", {"stage": "Staging", "archive_existing_versions": True}),
        ("POST", "model-versions/set-tag", {"key": "k", "value": "v"}), ("DELETE", "model-versions/delete-tag", {"key": "k"}),
    ):
        bad(method, path, {"name": w.model, "version": version} | fields)
    if version not in ("01", " 1", 1, "1e0"):
        bad("DELETE", "model-versions/delete", {"name": w.model, "version": version})
    bad("GET", "model-versions/get", query={"name": w.model, "version": version})
    bad("GET", "model-versions/get-download-uri", query={"name": w.model, "version": version})
for stage in ("None", "none", "NONE", "Staging", "staging", "PRODUCTION", "Archived", "archived", "Deleted_Internal", "nope", "", " Staging", "Prod", 1):
    for archive in (True, False, None, "true", "yes", 1):
        fields = {"name": w.model, "version": "1", "stage": stage} | ({"archive_existing_versions": archive} if archive is not None else {})
        bad("POST", "model-versions/transition-stage", fields)
    bad("POST", "registered-models/get-latest-versions", {"name": w.model, "stages": [stage]})
    bad("POST", "registered-models/get-latest-versions", {"name": w.model, "stages": ["None", stage]})
    bad("GET", "registered-models/get-latest-versions", query={"name": w.model, "stages": stage})
SOURCES = [
    "/etc/passwd", "/tmp/x", "x", "./x", "../x", "file:///tmp/x", "file:/tmp/x", "file://host/tmp/x", "s3://b/x", "s3://b/../x", "s3://b/x/..", "s3://b/%2e%2e/x", "s3://b/%252e%252e/x", "s3://b//x", "s3://b/x/", "s3:/b/x", "s3://b/./x",
    "http://h/x", "https://h/api/2.0/mlflow-artifacts/artifacts/x", "http://h/a/../b", "http://h/x?y=../z", "http://h/x#../z", "mlflow-artifacts:/x", "mlflow-artifacts://h:1/x", "mlflow-artifacts:/x/../y", "models:/nope/1",
    "models:/nope", "models:/", "models://h/m/1", "models:/m-nope", "runs:/nope/m", "runs:/", "runs://h/nope/m", "dbfs:/x", "dbfs:/../x", "ftp://h/x", "hdfs:/x", "nope://x", "wasbs://c@h/x", "C:\\x", "\\\\host\\x", "s3://b/x\u0000y", "s3://b/x%00", "dummy-source", " s3://b/x", "", " ",
]
for source in SOURCES:
    bad("POST", "model-versions/create", {"name": w.model, "source": source})
    bad("POST", "model-versions/create", {"name": w.model, "source": source, "run_id": w.run})
    bad("POST", "model-versions/create", {"name": w.model, "source": source, "model_id": w.logged})
root = f"mlflow-artifacts:/{w.experiment}/{w.run}/artifacts"
place = f"mlflow-artifacts:/{w.experiment}/models/{w.logged}/artifacts"
for source in (root, f"{root}/m", f"{root}/m/", f"{root}/../x", f"{root}/%2e%2e/x", f"{root}x", root.upper(), place, f"{place}/m", f"models:/{w.logged}", f"models:/{w.logged}/x", f"runs:/{w.run}/m", f"runs:/{w.run}", f"runs:/{w.run}/../m", f"models:/{w.model}/1", f"models:/{w.model}/99", f"models:/{w.model}@best", f"models:/{w.model}@nope", f"models:/{w.model}/latest", f"models:/{w.model}/Production", f"models:/{w.model}/x"):
    for fields in ({}, {"run_id": w.run}, {"run_id": "nope"}, {"run_id": ""}, {"model_id": w.logged}, {"model_id": "m-nope"}, {"model_id": ""}, {"run_id": w.run, "model_id": w.logged}, {"run_id": gone.run}):
        bad("POST", "model-versions/create", {"name": w.model, "source": source} | fields)
bad("POST", "model-versions/create", {"name": w.model, "source": "s3://b/x", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]})
bad("POST", "model-versions/create", {"name": w.model, "source": "dummy-source", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "True"}]})
p.get("model-versions/search", {"filter": f"name = '{w.model}'", "max_results": 1000})
p.get("registered-models/get", {"name": w.model})
for path, fields in (("registered-models/alias", {"alias": "x", "version": "1"}), ("registered-models/set-tag", {"key": "k", "value": "v"}), ("model-versions/set-tag", {"version": "1", "key": "k", "value": "v"}), ("model-versions/transition-stage", {"version": "1", "stage": "Staging", "archive_existing_versions": False})):
    bad("POST", path, {"name": "nope"} | fields)

# Logged models.
for name in ("", " ", "a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", "é", "x" * 500, "x" * 501, None, 5, "-", "a b", "a\\b"):
    bad("POST", "logged-models", {"experiment_id": w.experiment, "name": name})
for status in ("LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED", "LOGGED_MODEL_STATUS_UNSPECIFIED", "READY", "nope", "", 0, 1, 2, 3, 4, 99, -1, None, "2"):
    bad("PATCH", f"logged-models/{w.logged}", {"model_id": w.logged, "status": status})
bad("PATCH", f"logged-models/{w.logged}", {"model_id": "m-other", "status": "LOGGED_MODEL_READY"})
bad("PATCH", f"logged-models/{w.logged}", {"status": "LOGGED_MODEL_READY"})
bad("POST", "logged-models", {"experiment_id": w.experiment, "source_run_id": "nope"})
bad("POST", "logged-models", {"experiment_id": w.experiment, "params": [one, one]})
bad("POST", "logged-models", {"experiment_id": w.experiment, "tags": [one, one]})
bad("POST", f"logged-models/{w.logged}/params", {"model_id": w.logged, "params": [one]})
bad("POST", f"logged-models/{w.logged}/params", {"model_id": w.logged, "params": [one]})
bad("POST", f"logged-models/{w.logged}/params", {"model_id": w.logged, "params": [{"key": "k", "value": "other"}]})
bad("PATCH", f"logged-models/{w.logged}/tags", {"tags": [one, {"key": "k", "value": "2"}]})
bad("DELETE", f"logged-models/{w.logged}/tags/k")
bad("DELETE", f"logged-models/{w.logged}/tags/k")
bad("DELETE", f"logged-models/{w.logged}/tags/a%2Fb")
bad("GET", f"logged-models/{w.logged}")
for value in ("LOGGED_MODEL_READY", 2):
    bad("GET", f"logged-models/{w.logged}", query={"allow_deleted": str(value)})

# Paths of files.
PATHS = ["..", "../x", "a/../b", "a/..", "%2e%2e", "%2e%2e/x", "a/%2e%2e/b", "%252e%252e/x", "%25252e%25252e/x", "..%2fx", "..%5cx", "%2fetc/passwd", "/etc/passwd", "//etc/passwd", "C:%5cx", "a%00b", "a%0ab", "./x", "a//b", "a/./b", "x%20y", "%C3%A9", "a%23b", "a%3fb", "%", "%zz", "a%ceb", "~", "~/x", "file:/x", "file:%2f%2fx", "a:b", "x" * 300, "a/" * 40 + "x", "CON", "a%5c..%5cb", "%EF%BC%8E%EF%BC%8E/x", ".hidden", "a..b", "...", "nope", ""]
for path in PATHS:
    bad("GET", f"{ARTIFACTS}artifacts/{path}")
    bad("GET", f"{ARTIFACTS}artifacts", query=f"path={path}")
    bad("GET", "artifacts/list", query=f"run_id={w.run}&path={path}")
    bad("GET", f"logged-models/{w.logged}/artifacts/directories", query=f"artifact_directory_path={path}")
    bad("GET", "/get-artifact", query=f"run_id={w.run}&path={path}")
    bad("GET", "/model-versions/get-artifact", query=f"name={w.model}&version=1&path={path}")
    bad("GET", f"/ajax-api/2.0/mlflow/logged-models/{w.logged}/artifacts/files", query=f"artifact_file_path={path}")
    if ".." in path or "%2e" in path.lower() or path.startswith("/"):
        bad("PUT", f"{ARTIFACTS}artifacts/{path}", raw=b"x")
        bad("DELETE", f"{ARTIFACTS}artifacts/{path}")
for step in ("create", "complete", "abort"):
    for body in ({}, {"path": "x"}, {"path": "x", "num_parts": 2}, {"path": "x", "upload_id": "u", "parts": []}, {"path": "x", "upload_id": "u", "parts": [{"part_number": 1, "etag": "e"}]}, {"path": "../x", "num_parts": 1}):
        bad("POST", f"{ARTIFACTS}mpu/{step}/1/x", body)
    bad("POST", f"{ARTIFACTS}mpu/{step}/../x", {"path": "x"})
bad("GET", f"{ARTIFACTS}presigned/1/x")
bad("GET", f"{ARTIFACTS}presigned/../x")
bad("GET", "/get-artifact")
bad("GET", "/get-artifact", query={"run_id": "nope", "path": "x"})
bad("GET", "/get-artifact", query={"run_id": w.run})
bad("GET", "/model-versions/get-artifact", query={"name": "nope", "version": "1", "path": "x"})
bad("POST", "/get-artifact", {})

# Paths that do not exist.
for path in ("nope", "runs", "runs/", "runs/get/", "runs/nope", "experiments", "experiments/list", "//runs/get", "runs//get", "RUNS/get", "runs/get.json", "logged-models/", "logged-models/a/b", "logged-models/a/b/c/d", "registered-models/list", "databricks/x", "users/get", "metrics/get-history-bulk"):
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        bad(method, path, {} if method != "GET" else None)
for path in ("/api/1.0/mlflow/runs/get", "/api/2.0/preview/mlflow/runs/get", "/api/2.0/mlflow", "/api/4.0/mlflow/runs/get", "/api/3.0/mlflow/runs/get", "/ajax-api/2.0/preview/mlflow/runs/get", "/api/3.0/mlflow/logged-models/x", "/api/2.0/mlflow-artifacts", "/api/2.0/mlflow-artifacts/artifacts/", "/api/2.0/mlflow-artifacts/nope"):
    bad("GET", path, query={"run_id": w.run})
bad("GET", "/ajax-api/2.0/mlflow/runs/get", query={"run_id": w.run})
bad("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", query={"run_id": w.run, "metric_key": "step"})
bad("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", query={"run_id": w.run})
bad("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", query={"metric_key": "step"})
bad("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", query={"run_id": [w.run] * 101, "metric_key": "step"})
for body in ({"runId": w.run, "key": "camel", "value": "v"}, {"run_id": w.run, "runId": w.run, "key": "camel", "value": "v"}, {"run_uuid": w.run, "key": "uuid", "value": "v"}, {"runUuid": w.run, "key": "uuid", "value": "v"}, {"run_id": w.run, "run_uuid": "other", "key": "both", "value": "v"}, {"run_id": "", "run_uuid": w.run, "key": "both", "value": "v"}):
    bad("POST", "runs/log-parameter", body)
bad("POST", "runs/search", {"experimentIds": [w.experiment], "maxResults": 1, "orderBy": ["start_time"]}, scope=lambda a: {"runs": len(a.get("runs", []))})
bad("POST", "runs/search", {"experiment_ids": [w.experiment], "experimentIds": [w.experiment]})
p.get("runs/get", {"run_id": w.run})

print(f"{count} bodies and queries")
p.end("malformed")
