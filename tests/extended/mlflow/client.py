"""MlflowClient: experiments, runs, logged models, in its own words."""

import twice
from twice import NAME, note, refused

NOW = 1_700_000_000_000


def script():
    from mlflow import MlflowClient

    client = MlflowClient()
    experiments(client)
    runs(client)
    logged_models(client)


def experiments(client):
    from mlflow.entities import ViewType

    one = client.create_experiment(NAME + "-one", tags={"k": "v"})
    two = client.create_experiment(NAME + "-two", artifact_location="s3://bucket/two")
    note("one", client.get_experiment(one))
    note("two", client.get_experiment_by_name(NAME + "-two"))
    refused("no such experiment", lambda: client.get_experiment("999999"))
    note("no such name", client.get_experiment_by_name("no " + NAME))
    for name in (NAME + "-one", "", None, "x" * 501):
        refused(f"create {str(name)[:9]}", lambda: client.create_experiment(name))
    client.set_experiment_tag(one, "n", 5)
    client.set_experiment_tag(one, "k", "w")
    client.delete_experiment_tag(one, "n")
    refused("delete a tag that is gone", lambda: client.delete_experiment_tag(one, "n"))
    client.rename_experiment(one, NAME + "-renamed")
    refused("rename to what is there", lambda: client.rename_experiment(one, NAME + "-two"))
    note("renamed", client.get_experiment(one))
    client.delete_experiment(two)
    refused("delete it again", lambda: client.delete_experiment(two))
    refused("rename what is deleted", lambda: client.rename_experiment(two, NAME + "-x"))
    refused("tag what is deleted", lambda: client.set_experiment_tag(two, "k", "v"))
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        note(f"experiments {view}", client.search_experiments(view_type=view, filter_string=f"name LIKE '{NAME}%'", order_by=["name DESC"]))
    client.restore_experiment(two)
    refused("restore it again", lambda: client.restore_experiment(two))
    page = client.search_experiments(filter_string=f"name LIKE '{NAME}%'", max_results=1)
    note("first page", list(page))
    note("second page", list(client.search_experiments(filter_string=f"name LIKE '{NAME}%'", max_results=1, page_token=page.token)))
    refused("too many", lambda: client.search_experiments(max_results=50_001))
    refused("none", lambda: client.search_experiments(max_results=0))


def runs(client):
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType

    experiment = client.create_experiment(NAME + "-runs")
    run = client.create_run(experiment, start_time=NOW, tags={"a": "1", "mlflow.user": "ada"}, run_name="named")
    note("created", run)
    id = run.info.run_id
    note("unnamed", client.create_run(experiment, start_time=NOW + 1))
    note("named by its tag", client.create_run(experiment, start_time=NOW + 2, tags={"mlflow.runName": "by tag"}))
    refused("two names", lambda: client.create_run(experiment, run_name="x", tags={"mlflow.runName": "y"}))
    refused("no such experiment", lambda: client.create_run("999999"))
    refused("no such run", lambda: client.get_run("nope"))
    client.log_metric(id, "m", 1.5, timestamp=NOW, step=1)
    client.log_metric(id, "m", 2.5, timestamp=NOW, step=0)
    client.log_metric(id, "m", float("nan"), timestamp=NOW, step=2)
    note("params come back", client.log_param(id, "p", 3.0))
    refused("another value", lambda: client.log_param(id, "p", 4))
    client.set_tag(id, "t", None)
    client.set_tag(id, "mlflow.runName", "by a tag")
    client.delete_tag(id, "a")
    refused("no such tag", lambda: client.delete_tag(id, "a"))
    metrics = [Metric(f"b{i % 3}", i / 2, NOW + i, i) for i in range(9)]
    client.log_batch(id, metrics, [Param(f"q{i}", str(i)) for i in range(3)], [RunTag("x", "y"), RunTag("x", "z")])
    client.log_batch(id, metrics)
    refused("two params of one key", lambda: client.log_batch(id, params=[Param("r", "1"), Param("r", "2")]))
    refused("a batch with a changed param", lambda: client.log_batch(id, metrics=[Metric("late", 1, NOW, 0)], params=[Param("q0", "other"), Param("new", "1")]))
    refused("a bad key in a batch", lambda: client.log_batch(id, metrics=[Metric("ok", 1, NOW, 0), Metric("a@b", 1, NOW, 0)]))
    note("many metrics", client.log_batch(id, metrics=[Metric("many", i, NOW, i) for i in range(2500)]))
    note("one batch", client.get_metric_history(id, "many")[::500])
    client.log_inputs(id, [DatasetInput(Dataset("d", "g", "local", "{}", "{}", "{}"), [InputTag("mlflow.data.context", "train")])])
    client.log_inputs(id, [DatasetInput(Dataset("d", "g", "local", "other"), [])])
    note("run", client.get_run(id))
    for key in ("m", "b0", "nothing"):
        note(f"history {key}", client.get_metric_history(id, key))
    client.update_run(id, status="FAILED", name="renamed")
    note("updated", client.get_run(id).info)
    client.set_terminated(id, "FINISHED", end_time=NOW + 5000)
    note("terminated", client.get_run(id).info)
    client.log_metric(id, "after", 1, timestamp=NOW)
    client.delete_run(id)
    for name, call in {
        "metric": lambda: client.log_metric(id, "m", 1), "param": lambda: client.log_param(id, "z", 1), "tag": lambda: client.set_tag(id, "z", 1),
        "batch": lambda: client.log_batch(id, metrics), "update": lambda: client.update_run(id, name="n"), "delete": lambda: client.delete_run(id),
    }.items():
        refused(f"{name} of a deleted run", call)
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        note(f"runs {view}", client.search_runs([experiment], run_view_type=view))
    client.restore_run(id)
    page = client.search_runs([experiment], max_results=2, order_by=["start_time ASC"])
    note("first page", list(page))
    note("second page", list(client.search_runs([experiment], max_results=2, order_by=["start_time ASC"], page_token=page.token)))
    note("by metric", client.search_runs([experiment], "metrics.b0 >= 3", order_by=["metrics.b0 DESC"]))
    refused("bad filter", lambda: client.search_runs([experiment], "metrics.b0 >= 'x'"))
    refused("bad order", lambda: client.search_runs([experiment], order_by=["nope"]))
    refused("too many", lambda: client.search_runs([experiment], max_results=50_001))
    child = client.create_run(experiment, start_time=NOW + 3, tags={"mlflow.parentRunId": id})
    note("parent", client.get_parent_run(child.info.run_id))
    note("no parent", client.get_parent_run(id))


def logged_models(client):
    experiment = client.create_experiment(NAME + "-models")
    run = client.create_run(experiment, start_time=NOW).info.run_id
    made = client.create_logged_model(experiment, name="net", source_run_id=run, tags={"t": "1"}, params={"p": "2"}, model_type="classifier")
    note("made", made)
    note("unnamed", client.create_logged_model(experiment).status)
    refused("bad name", lambda: client.create_logged_model(experiment, name="a/b"))
    refused("no such experiment", lambda: client.create_logged_model("999999", name="net"))
    note("ready", client.finalize_logged_model(made.model_id, "READY"))
    client.set_logged_model_tags(made.model_id, {"u": "3", "t": "2"})
    client.delete_logged_model_tag(made.model_id, "u")
    refused("no such tag", lambda: client.delete_logged_model_tag(made.model_id, "u"))
    client.log_model_params(made.model_id, {"q": "4"})
    client.log_metric(run, "acc", 0.5, timestamp=NOW, step=1, model_id=made.model_id)
    client.log_metric(run, "acc", 0.75, timestamp=NOW + 1, step=2, model_id=made.model_id, dataset_name="d", dataset_digest="g")
    note("model", client.get_logged_model(made.model_id))
    note("run of the model", client.get_run(run))
    refused("no such model", lambda: client.get_logged_model("m-" + "0" * 32))
    other = client.create_logged_model(experiment, name="tree", params={"p": "9"})
    for name, filter, order in (
        ("all", None, [{"field_name": "creation_timestamp"}]), ("by metric", "metrics.acc > 0.1", [{"field_name": "metrics.acc", "ascending": False}]),
        ("by param", "params.p = '9'", None), ("by name", "name LIKE 'n%'", None),
    ):
        note(f"models {name}", client.search_logged_models([experiment], filter_string=filter, order_by=order))
    note("on a data set", client.search_logged_models([experiment], datasets=[{"dataset_name": "d", "dataset_digest": "g"}]))
    page = client.search_logged_models([experiment], max_results=1)
    note("second page", client.search_logged_models([experiment], max_results=1, page_token=page.token))
    client.delete_logged_model(other.model_id)
    refused("deleted", lambda: client.get_logged_model(other.model_id))
    note("models left", [m.name for m in client.search_logged_models([experiment], filter_string="name = 'tree'")])


if __name__ == "__main__":
    twice.main(script)
