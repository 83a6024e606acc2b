"""Searches: the same filters, orders, page sizes and views over the same data, right and wrong ones."""

from data import BEGAN, Data
from pair import everything, pages, pair

p = pair()
d = Data(p)
P = d.prefix
E = d.experiments
ALL = [E["alpha"], E["beta"], E["Gamma"]]
# The real server has it for its own pages only.
DATASETS = "/ajax-api/2.0/mlflow/experiments/search-datasets"
count = 0


def row():
    global count
    count += 1
    return f"filters row {count}"


def runs(filter=None, order=None, n=100, view=None, ids=ALL, **more):
    fields = {"experiment_ids": ids, "max_results": n, "filter": filter, "order_by": order, "run_view_type": view} | more
    pages(p, "POST", "runs/search", {k: v for k, v in fields.items() if v is not None}, note=row())


def sorted_by(listed, key):
    """Ids of one server sort otherwise than those of the other: how they are sorted is compared."""

    def scope(answer):
        ids = [x["info"][key] for x in answer.get(listed, [])]
        return {"count": len(ids), "up": ids == sorted(ids), "down": ids == sorted(ids, reverse=True)}

    return scope


def mine(thing):
    """Whether this script made it."""
    return thing["name"].startswith(P)


def experiments(filter=None, order=None, n=1000, view=None, **more):
    filter = f"name LIKE '{P}%' AND {filter[2:]}" if filter and filter.startswith("& ") else filter
    fields = {"filter": filter, "max_results": n, "order_by": order, "view_type": view} | more
    fields = {k: v for k, v in fields.items() if v is not None}
    if filter:
        pages(p, "POST", "experiments/search", fields, note=row())
    else:
        everything(p, "POST", "experiments/search", fields, "experiments", mine, note=row())


def registry(path, listed):
    def search(filter=None, order=None, n=None, **more):
        filter = f"name LIKE '{P}%' AND {filter[2:]}" if filter and filter.startswith("& ") else filter
        fields = {"filter": filter, "max_results": n, "order_by": order} | more
        fields = {k: v for k, v in fields.items() if v is not None}
        if filter:
            pages(p, "GET", path, fields, note=row())
        else:
            everything(p, "GET", path, fields, listed, mine, note=row())

    return search


models = registry("registered-models/search", "registered_models")
versions = registry("model-versions/search", "model_versions")


def logged(filter=None, order=None, n=None, ids=ALL, datasets=None, **more):
    fields = {"experiment_ids": ids, "filter": filter, "order_by": order, "max_results": n, "datasets": datasets} | more
    pages(p, "POST", "logged-models/search", {k: v for k, v in fields.items() if v is not None}, note=row())


# Runs: every kind of clause.
runs()
runs(n=7)
runs(n=1, filter="params.depth = '4'")
for view in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL", 1, 2, 3, "NOPE"):
    runs(view=view, n=20)
for operator in (">", ">=", "=", "!=", "<", "<="):
    runs(f"metrics.acc {operator} 0.5")
    runs(f"metric.loss {operator} -1.0 and metrics.acc {operator} 1")
    runs(f"attributes.start_time {operator} {BEGAN + 20_000}")
    runs(f"end_time {operator} {BEGAN + 100_000}")
runs("metrics.acc > 1e300")
runs("metrics.acc < -1e300")
runs("metrics.acc = 1.7976931348623157e308")
runs("metrics.acc = 0")
runs("metrics.acc != 0")
runs("metrics.`odd metric/key 1` >= 1")
runs('metrics."odd metric/key 1" >= 1')
runs("metrics.nothing > 0")
runs("metrics.f1 > .5")
runs("metrics.f1 > 5e-1 AND metrics.f1 < +2")
for value in ("'0.1'", '"0.1"', "''", "'None'", "'0_1'", "'1E-3'"):
    for operator in ("=", "!=", "LIKE", "ILIKE"):
        runs(f"params.lr {operator} {value}")
for value in ("a", "A", "100%", "1%", "x_y", "%", "_", "", "%a%", "__%"):
    for operator in ("=", "LIKE", "ilike"):
        runs(f"tags.kind {operator} '{value}'")
runs("tags.kind != 'a'")
runs("tags.`odd key.with/all-of:it` = 'v1'")
runs('tags."odd key.with/all-of:it" = "v0"')
runs("tags.odd = 'v0'")
runs("tag.mlflow.user = 'ada'")
runs("params.`odd param.key/1` = \"it's\"")
runs("params.`odd param.key/1` LIKE 'it''s'")
runs("parameters.depth = '4' AND parameter.lr = '0.1'")
for what in ("params.lr", "tags.kind", "tags.`odd key.with/all-of:it`", "params.nothing", "tag.nothing"):
    runs(f"{what} IS NULL")
    runs(f"{what} is not null")
runs("params.lr IS NULL AND tags.kind = 'a'")
runs("tags.kind = 'a' AND params.lr IS NOT NULL AND metrics.loss < 1")
for what in ("metrics.acc", "attributes.status", "start_time", "datasets.name"):
    runs(f"{what} IS NULL")
for name in ("plain", "Plain", "%lain%", "100%", "under_score", "naïve Ünï", "NAÏVE ÜNÏ", "9", "a.b"):
    for operator in ("=", "!=", "LIKE", "ILIKE"):
        runs(f"attributes.run_name {operator} '{name}'", n=30)
runs("run_name = 'plain'")
runs("attributes.`run name` = 'plain'")
runs("attributes.`Run Name` LIKE 'p%'")
runs("run.run_name ILIKE 'P%'")
runs("attr.status = 'FINISHED'")
runs("attributes.status != 'FINISHED'")
runs("attributes.status = 'finished'")
runs("status LIKE 'FIN%'")
runs("attributes.status IN ('FINISHED')")
runs("user_id = 'ada'")
runs("attributes.user_id ILIKE 'BOB'")
runs("attributes.user_id = ''")
runs(f"attributes.run_id = '{d.runs[3]}'")
runs(f"run_id != '{d.runs[3]}'")
runs(f"attributes.run_id IN ('{d.runs[3]}', '{d.runs[4]}', 'nope')")
runs(f"attributes.run_id NOT IN ('{d.runs[3]}', \"{d.runs[4]}\")")
runs(f"run_id in ('{d.runs[3]}')")
runs(f"run_id IN ('{d.runs[3]}',)")
runs(f"attributes.artifact_uri LIKE '%{d.runs[6]}/artifacts'")
runs(f"attributes.artifact_uri = 'mlflow-artifacts:/{E['alpha']}/{d.runs[0]}/artifacts'")
runs(f"attributes.created > {BEGAN + 30_000}")
runs(f"attributes.Created <= {BEGAN + 30_000}.5")
for what in ("dataset.name", "datasets.digest", "dataset.context"):
    for value in ("train", "Train", "d0", "training", "eval"):
        for operator in ("=", "!=", "LIKE"):
            runs(f"{what} {operator} '{value}'")
runs("dataset.name ILIKE 'TRAIN'")
runs("dataset.name IN ('train', 'test')")
runs("dataset.name NOT IN ('train')")
runs("dataset.context IN ('training', 'eval') AND dataset.digest = 'd0'")
runs("dataset.digest NOT IN ('d0', 'd1')")
runs("dataset.name = 'second' AND dataset.name = 'train'")
runs("dataset.name = 'second' AND metrics.acc > 0 AND params.depth LIKE '%'")

# Runs: orders.
for order in (
    ["metrics.acc"], ["metrics.acc DESC"], ["metrics.acc asc", "metrics.loss desc"], ["metrics.nothing"], ["metrics.`odd metric/key 1` DESC"],
    ["params.lr"], ["params.lr DESC"], ["params.depth ASC"], ["tags.kind DESC"], ["tag.`odd key.with/all-of:it`"], ["tags.\"odd key.with/all-of:it\" DESC"],
    ["attributes.start_time"], ["start_time ASC"], ["attributes.end_time DESC"], ["end_time"], ["created DESC"], ["status", "start_time"],
    ["attributes.run_name"], ["run_name DESC"], ["attributes.`Run Name`"], ["attributes.run_id"], ["user_id DESC", "metrics.loss"], ["artifact_uri"],
    ["metrics.f1 DESC", "params.lr DESC", "attributes.start_time DESC"], ["Metrics.acc"], ["metrics.acc DOWN"], ["metrics.acc, metrics.loss"],
    ["dataset.name"], ["datasets.digest DESC"], ["attributes.experiment_id"], ["attributes.lifecycle_stage"], ["nothing"], [""], [" metrics.acc "], ["metrics.acc", "metric.acc"],
    ["metrics.acc", "metrics.acc DESC"], ["'metrics.acc'"], ["metrics"], ["`metrics`.acc"], ["metrics.`acc` DESC"], ["metrics.a b"], ["timestamp"], ["timestamp DESC"],
):
    fixed = any("run_id" in o or "artifact_uri" in o for o in order)
    if fixed:
        row()
        p.call("POST", "runs/search", {"experiment_ids": ALL, "order_by": order}, scope=sorted_by("runs", "run_id"), note="order by id")
    else:
        runs(order=order, n=16)

# Runs: what is refused, or read in a way of its own.
for wrong in (
    "metrics.acc > 0 OR metrics.acc < 0", "(metrics.acc > 0)", "metrics.acc", "metrics.acc >", "> 0", "metrics.acc > 'a'", "metrics.acc = '0.5'", "metrics.acc LIKE 1",
    "metrics.acc LIKE 'a'", "metrics.acc IN (1, 2)", "metrics.acc == 1", "metrics.acc <> 1", "params.lr = 0.1", "params.lr > '0.1'", "params.lr < 1", "params.lr = abc",
    "params.lr = 'a", "params.lr = a'", "params.lr IN ('0.1')", "params.lr NOT LIKE 'a'", "tags.kind = 1", "tags.kind > 'a'", "tags.kind IN ('a')", "tags.kind = `a`",
    "tags.kind = \"a\"", "attributes.nothing = 'a'", "nothing = 'a'", "attributes.status = 1", "attributes.status > 'A'", "attributes.start_time = 'a'",
    "attributes.start_time LIKE 'a'", "start_time IN (1)", "attributes.experiment_id = '1'", "attributes.lifecycle_stage = 'active'", "foo.bar = 'a'", "Metrics.acc > 0",
    "metrics.acc > 0 AND", "AND metrics.acc > 0", "metrics.acc > 0 metrics.loss > 0", "metrics.acc > 0, metrics.loss > 0", "metrics.acc > 0; metrics.loss > 0",
    "metrics.acc > 0;", "run_id IN ()", "run_id IN (1)", "run_id IN ('a', 1)", "run_id IN 'a'", "run_id IN ('a'", "dataset.nothing = 'a'", "dataset.name > 'a'", "dataset.name = 1",
    "dataset.name IN (1)", "dataset.context IN ()", "not metrics.acc > 0", "metrics.acc BETWEEN 0 AND 1", "metrics. = 1", ".acc = 1", "metrics..acc > 1", "metrics.`acc > 1",
    "metrics.acc > -1", "metrics.acc > - 1", "metrics.acc > 1 + 1", "metrics.acc > 0x10", "metrics.acc > nan", "metrics.acc > inf", "metrics.acc>0", "metrics.acc>0AND metrics.loss>0",
    "metrics.acc > 0 -- comment", "/* c */ metrics.acc > 0", "  metrics.acc > 0  ", "\nmetrics.acc\n>\t0", "'acc' > 0", "\"metrics\".acc > 0", "`metrics`.acc > 0", "`metrics.acc` > 0",
    "'metrics.acc' > 0", "params.lr = ''''", "params.lr = '\\''", "params.lr = 'a' 'b'", "tags.kind IS", "tags.kind IS NOT", "tags.kind NULL", "tags.kind IS NULL AND", "tags.kind IS  NOT  NULL",
    "tags.kind IS NULL OR 1", "select 1", "metrics.acc > 0 AND AND metrics.loss > 0", "metrics.date > 0", "params.order = 'x'", "tags.from = 'a'", "params.key = 'a'", "metrics.count > 0", "metrics.max > 0",
    "params.type = 'a'", "params.timestamp = 'a'", "tags.user = 'a'", "metrics.1 > 0", "metrics.2nd > 0", "metrics.val-loss > 0", "metrics.val_loss/1 > 0", "params.a:b = 'x'", "tags.é = 'x'", "é = 'x'",
    "tags.kind ='a'", "tags.kind= 'a'", "tags.kind='a'and tags.kind='a'", "tags.kind = 'a' aNd tags.kind = 'a'", "a" * 300, "params.lr = 'a' AND " * 3, "'", "''", "1", "1 = 1", "metrics.acc = metrics.loss",
):
    runs(wrong, n=10)
runs("", n=10)
runs(" ", n=10)
for n in (0, -1, 50_000, 50_001, "10", "x", 1.5, None, 2**31, 2**63):
    runs(n=n)
for ids in ([], ["nope"], ["999999"], [E["alpha"], E["alpha"]], [""], ["1.5"], ["-1"], "1", [1], None):
    runs(ids=ids, n=10)
for token in ("", "nope", "e30=", "eyJvZmZzZXQiOiAyfQ==", "eyJvZmZzZXQiOiAiYSJ9", "eyJvZmZzZXQiOiAtMX0=", "eyJvZmZzZXQiOiAwfQ==", "eyJvZmZzZXQiOiA5OTk5fQ==", "W10=", "====", "é", 5):
    row()
    p.post("runs/search", {"experiment_ids": ALL, "max_results": 5, "page_token": token}, note="a token")

# Experiments.
experiments()
experiments(n=1000, view="ALL")
for view in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL", 1, 2, 3, "NOPE", "1"):
    experiments("& name LIKE '%'", view=view)
experiments("& name LIKE '%'", n=2)
for operator in ("=", "!=", "LIKE", "ILIKE"):
    for value in ("red", "Red", "%e%", "100%_x", "", "x"):
        experiments(f"& tags.team {operator} '{value}'")
    experiments(f"name {operator} '{P}-alpha'" if operator != "!=" else f"& name {operator} '{P}-alpha'")
    experiments(f"& tags.`odd.key with/slash` {operator} '1'")
experiments(f"& name ILIKE '{P.upper()}-G%'")
experiments(f"& attribute.name LIKE '%naïve'")
experiments(f"& tag.late = 'yes' AND tag.team = 'blue'")
experiments("& tags.team IS NULL")
experiments("& tags.team IS NOT NULL")
experiments("& tags.empty = ''")
experiments("& name IS NULL")
experiments(f"experiment_id = '{E['beta']}'")
experiments(f"experiment_id IN ('{E['beta']}', '{E['alpha']}')")
experiments(f"& experiment_id NOT IN ('{E['beta']}', '{E['alpha']}')")
experiments(f"& experiment_id != '{E['beta']}'")
experiments("& creation_time > 0")
experiments("& last_update_time >= 99999999999999")
experiments("& attribute.creation_time != 5 AND last_update_time < 99999999999999")
for order in (["name"], ["name DESC"], ["creation_time"], ["last_update_time DESC"], ["experiment_id"], ["experiment_id DESC", "name"], ["attribute.name ASC"], ["creation_time DESC", "name"],
              ["nothing"], ["tags.team"], ["name DOWN"], ["attributes.name"], [""], ["name, creation_time"], ["lifecycle_stage"], ["last_update_time", "last_update_time"]):
    experiments("& name LIKE '%'", order=order)
for wrong in (
    "name = 1", "name > 'a'", "name IN ('a')", "nothing = 'a'", "attributes.name = 'a'", "attribute.nothing = 'a'", "params.a = 'b'", "metrics.a > 1", "tags.team > 'a'", "tags.team IN ('a')", "tags.team = 1",
    "creation_time = 'a'", "creation_time LIKE 'a'", "creation_time > 1.5", "experiment_id = 'a'", "experiment_id > '1'", "experiment_id LIKE '1'", "experiment_id = 1", "experiment_id IN (1)", "experiment_id IN ('a')",
    "name = 'a' OR name = 'b'", "(name = 'a')", "name", "name =", "name = 'a", "lifecycle_stage = 'active'", "name like 'a'", "name ilike 'A'", "name = 'a'; name = 'b'", "artifact_location = 'x'", "last_updated_time > 1",
):
    experiments(wrong)
for n in (0, -1, 50_000, 50_001, "5", "x", None):
    experiments(f"name = '{P}-alpha'", n=n)
for token in ("nope", "e30=", "eyJvZmZzZXQiOiAxfQ==", "eyJvZmZzZXQiOiAiYSJ9"):
    experiments("& name LIKE '%'", page_token=token)

# Registered models.
models()
models("& name LIKE '%'")
models("& name LIKE '%'", n=2)
for operator in ("=", "!=", "LIKE", "ILIKE"):
    for value in (f"{P}-fraud", f"{P}-FRAUD", f"{P}-churn_1", f"{P}-%2", f"{P}-naïve model", ""):
        models(f"& name {operator} '{value}'")
    for value in ("tabular", "100%", "tab%", "", "TABULAR"):
        models(f"& tags.task {operator} '{value}'")
    for value in ("true", "false", "x"):
        models(f"& tags.`mlflow.prompt.is_prompt` {operator} '{value}'")
models("& tags.`odd key/1` = 'x'")
models("& tags.\"odd key/1\" = 'x'")
models("& tag.task = 'tabular' AND tags.`odd key/1` = 'x'")
models("& tags.empty = ''")
models(f"name IN ('{P}-fraud', '{P}-Fraud', 'nope')")
models(f"& name NOT IN ('{P}-fraud')")
models(f"& attribute.name = '{P}-fraud'")
for order in (["name"], ["name DESC"], ["timestamp"], ["timestamp DESC"], ["last_updated_timestamp"], ["last_updated_timestamp DESC", "name"], ["creation_timestamp DESC"], ["creation_timestamp ASC", "name DESC"],
              ["nothing"], ["name DOWN"], [""], ["tags.task"], ["name", "name"], ["attribute.name"]):
    models("& name LIKE '%'", order=order)
for wrong in (
    "name = 1", "name > 'a'", "nothing = 'a'", "attributes.name = 'a'", "tags.task > 'a'", "tags.task IN ('a')", "tags.task IS NULL", "tags.task = 1", "name = 'a' OR name = 'b'", "(name = 'a')", "name", "name = 'a",
    "name IN ()", "name IN (1)", "params.a = 'b'", "name = 'a'; name = 'b'", "creation_timestamp > 1", "description = 'a'", "name IS NULL", "`name` = 'a'", "aliases.champion = '1'", "name LIKE '%' LIMIT 1",
):
    models(wrong)
for n in (0, -1, 1000, 1001, "5", "x"):
    models(f"name = '{P}-fraud'", n=n)
for token in ("nope", "e30=", "eyJvZmZzZXQiOiAxfQ==", "eyJvZmZzZXQiOiAiYSJ9"):
    models("& name LIKE '%'", page_token=token)

# Versions.
versions()
versions("& name LIKE '%'")
versions("& name LIKE '%'", n=3)
for operator in ("=", "!=", "LIKE", "ILIKE"):
    for value in (f"{P}-fraud", f"{P}-FRAUD", f"{P}-churn_1"):
        versions(f"& name {operator} '{value}'")
    versions(f"& run_id {operator} '{d.runs[0]}'")
    versions(f"& source_path {operator} 's3://bucket/fraud/0'")
    versions(f"& source_path {operator} 's3://%/fraud/_'")
    versions(f"& tags.v {operator} '1'")
    versions(f"& tags.`odd key.1` {operator} 'it is'")
    versions(f"& tags.`mlflow.prompt.is_prompt` {operator} 'true'")
    versions(f"& tags.`mlflow.prompt.is_prompt` {operator} 'false'")
for operator in ("=", "!=", "<", "<=", ">", ">="):
    versions(f"& version_number {operator} 3")
    versions(f"& version_number {operator} '3'")
versions(f"name = '{P}-fraud' AND version_number = 1")
versions(f"name IN ('{P}-fraud', '{P}-churn_1')")
versions(f"run_id IN ('{d.runs[0]}', '{d.runs[2]}')")
versions(f"& run_id NOT IN ('{d.runs[0]}')")
versions(f"run_id = '{d.runs[0]}'")
versions("& run_id = ''")
for order in (["name"], ["name DESC"], ["version_number"], ["version_number DESC"], ["creation_timestamp"], ["creation_timestamp DESC"], ["last_updated_timestamp"], ["last_updated_timestamp ASC", "name"], ["name", "version_number DESC"],
              ["nothing"], ["version"], ["run_id"], ["tags.v"], ["name DOWN"], [""], ["timestamp"]):
    versions("& name LIKE '%'", order=order)
for wrong in (
    "name = 1", "name > 'a'", "nothing = 'a'", "version = 1", "version_number = 'a'", "version_number LIKE '1'", "version_number IN (1)", "version_number = 1.5", "tags.v > 'a'", "tags.v = 1", "tags.v IS NULL", "source = 'a'",
    "source_path IN ('a')", "name = 'a' OR name = 'b'", "run_id > 'a'", "run_id IN ()", "current_stage = 'Production'", "aliases = 'a'", "(name = 'a')", "name = 'a", "creation_timestamp > 1", "status = 'READY'", "name IN ('a', 1)",
):
    versions(wrong)
for n in (0, -1, 200_000, 200_001, "5", "x"):
    versions(f"name = '{P}-fraud'", n=n)
for token in ("nope", "e30=", "eyJvZmZzZXQiOiAxfQ==", "eyJvZmZzZXQiOiAiYSJ9"):
    versions("& name LIKE '%'", page_token=token)

# Logged models.
logged()
logged(n=3)
logged(ids=[E["beta"]])
for operator in ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"):
    for what, value in (("name", "tree"), ("name", "net%"), ("name", "net_1"), ("model_type", "classifier"), ("tags.stage", "dev"), ("tags.`a/b.c`", "1"), ("params.depth", "1"), ("params.`odd key`", "a"), ("attributes.name", "Tree")):
        logged(f"{what} {operator} ('{value}', 'x')" if "IN" in operator else f"{what} {operator} '{value}'")
for operator in ("=", "!=", "<", "<=", ">", ">="):
    logged(f"metrics.f1 {operator} 1.0")
    logged(f"creation_timestamp {operator} 5")
    logged(f"last_updated_timestamp {operator} 99999999999999")
    logged(f"metrics.f1 {operator} 1.0", datasets=[{"dataset_name": "train", "dataset_digest": "d0"}])
logged(f"model_id = '{d.logged[2]}'")
logged(f"source_run_id = '{d.source}'")
logged(f"source_run_id IN ('{d.source}', 'x')")
logged(f"attributes.source_run_id != '{d.source}'")
logged("status = 'READY'")
logged("status = 2")
logged("status = '2'")
logged("name = 'tree' AND params.depth = '0'")
logged("name = 'tree' AND metrics.f1 > 0 AND tags.stage != 'x'")
for datasets in ([{"dataset_name": "train"}], [{"dataset_name": "train", "dataset_digest": "d0"}], [{"dataset_name": "nope"}], [{"dataset_digest": "d0"}], [{}], [{"dataset_name": "train"}, {"dataset_name": "nope"}]):
    logged(datasets=datasets)
for field in ("name", "model_id", "creation_timestamp", "creation_time", "last_updated_timestamp", "last_updated_time", "model_type", "status", "source_run_id", "metrics.f1", "metrics.nothing", "params.depth", "tags.stage", "nothing", "", "metadata", "experiment_id", "tags", "to_mlflow_entity"):
    for ascending in (True, False, None):
        order = {"field_name": field} | ({"ascending": ascending} if ascending is not None else {})
        if field in ("model_id",):
            row()
            p.call("POST", "logged-models/search", {"experiment_ids": ALL, "order_by": [order]}, scope=sorted_by("models", "model_id"), note="order by id")
        else:
            logged(order=[order])
logged(order=[{"field_name": "metrics.f1", "dataset_name": "train", "dataset_digest": "d0"}])
logged(order=[{"field_name": "metrics.f1", "dataset_name": "train"}, {"field_name": "name"}], n=4)
logged(order=[{"field_name": "metrics.f1", "dataset_digest": "d0"}])
logged(order=[{}])
logged(order=["name"])
for wrong in (
    "name > 'a'", "name = 1", "name = a", "metrics.f1 LIKE 'a'", "metrics.f1 > 'a'", "nothing = 'a'", "foo.bar = 'a'", "metric.f1 > 1", "tag.stage = 'dev'", "param.depth = '1'", "name = 'a' OR name = 'b'", "(name = 'a')", "name", "name = 'a",
    "tags.stage IS NULL", "params.depth > 1", "creation_timestamp LIKE 'a'", "creation_timestamp = 'a'", "name IN ()", "name IN (1)", "name IN 'a'", "name = 'a'; name = 'b'", "attributes.status = 'READY'", "name = \"tree\"", "lifecycle_stage = 'active'", "metrics.f1",
):
    logged(wrong)
for n in (0, -1, 1, 50, 51, 1000, 50_001, "5", "x"):
    logged(n=n)
for ids in ([], ["nope"], ["999999"], None, "1", [1]):
    logged(ids=ids)
for token in ("nope", "e30=", "eyJvZmZzZXQiOiAxfQ==", "eyJvZmZzZXQiOiAxLCAiZXhwZXJpbWVudF9pZHMiOiBbXX0="):
    logged(page_token=token)

# Data sets.
for ids in (ALL, [E["alpha"]], [E["naïve"]], [E["gone"]], [], ["nope"], ["999999"], [str(i) for i in range(900, 921)], None, "1"):
    row()
    p.post(DATASETS, {"experiment_ids": ids} if ids is not None else {})
row()
p.call("POST", DATASETS, raw=b"{}", headers={"Content-Type": "text/plain"})

# Every run and model as it is, and histories.
for run in d.runs:
    p.get("runs/get", {"run_id": run})
for run in d.runs[:12]:
    for key in ("acc", "loss", "odd metric/key 1", "nothing"):
        p.get("metrics/get-history", {"run_id": run, "metric_key": key})
for model in d.logged:
    p.get(f"logged-models/{model}")

print(f"{count} rows")
p.end("filters")
