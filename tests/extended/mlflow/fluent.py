"""MLflow's fluent API, as a training script uses it."""

import math
import os

import twice
from twice import NAME, note, refused


def run_of(mlflow, run_id):
    return note(f"run {len(twice.NOTES)}", mlflow.get_run(run_id))


def script():
    import mlflow
    import numpy as np
    import pandas as pd

    note("experiment", mlflow.set_experiment(NAME))
    note("experiment again", mlflow.set_experiment(NAME))
    mlflow.set_experiment_tag("kind", "test")
    mlflow.set_experiment_tags({"a": "1", "b": "2"})
    note("experiment by name", mlflow.get_experiment_by_name(NAME))
    note("no experiment", mlflow.get_experiment_by_name("no such " + NAME))

    with mlflow.start_run(run_name="first", description="what it is", tags={"t": "v"}) as run:
        first = run.info.run_id
        note("started", run)
        mlflow.log_param("lr", 0.1)
        mlflow.log_param("lr", 0.1)
        refused("changed param", lambda: mlflow.log_param("lr", 0.2))
        mlflow.log_params({"depth": 3, "none": None, "text": "x" * 700, "flag": True, "list": [1, 2]})
        mlflow.log_metric("loss", 0.5)
        for step in range(5):
            mlflow.log_metric("loss", 1 / (step + 1), step=step, timestamp=1_700_000_000_000 + step)
        mlflow.log_metric("loss", 0.25, step=4, timestamp=1_700_000_000_004)
        mlflow.log_metrics({"acc": 0.9, "auc": np.float64(0.8), "whole": 3}, step=2, timestamp=1_700_000_000_000)
        mlflow.log_metrics({"nan": math.nan, "inf": math.inf, "minus": -math.inf})
        mlflow.log_metric("back", 1.0, step=10, timestamp=1_700_000_000_000)
        mlflow.log_metric("back", 2.0, step=3, timestamp=1_700_000_000_009)
        mlflow.set_tag("one", 1)
        mlflow.set_tags({"two": "2", "three": [3], "mlflow.note.content": "a *note*"})
        mlflow.delete_tag("two")
        refused("tag that is gone", lambda: mlflow.delete_tag("two"))
        refused("bad key", lambda: mlflow.log_metric("a@b", 1))
        refused("bad param", lambda: mlflow.log_param("..", 1))

        with mlflow.start_run(run_name="child", nested=True) as child:
            mlflow.log_metric("loss", 7)
            note("child", child)
            with mlflow.start_run(nested=True) as grandchild:
                note("unnamed grandchild", grandchild)
        note("parent", mlflow.get_parent_run(child.info.run_id))
        files(mlflow, np)
        inputs(mlflow, pd, np)
        note("active", mlflow.active_run())
    note("last active", mlflow.last_active_run())
    run_of(mlflow, first)

    try:
        with mlflow.start_run(run_name="fails") as failed:
            raise KeyError("on purpose")
    except KeyError:
        run_of(mlflow, failed.info.run_id)
    killed = mlflow.start_run(run_name="killed")
    mlflow.end_run("KILLED")
    run_of(mlflow, killed.info.run_id)
    with mlflow.start_run(run_id=first):
        mlflow.log_metric("resumed", 1)
    run_of(mlflow, first)
    refused("resume what is not there", lambda: mlflow.start_run(run_id="0" * 32))

    mlflow.delete_run(killed.info.run_id)
    run_of(mlflow, killed.info.run_id)
    refused("resume a deleted run", lambda: mlflow.start_run(run_id=killed.info.run_id))
    mlflow.MlflowClient().restore_run(killed.info.run_id)
    run_of(mlflow, killed.info.run_id)
    searches(mlflow, first)
    in_the_background(mlflow)
    other = mlflow.create_experiment(NAME + "-other", tags={"x": "y"})
    note("other", mlflow.get_experiment(other))
    refused("experiment twice", lambda: mlflow.create_experiment(NAME + "-other"))
    mlflow.delete_experiment(other)
    note("deleted", mlflow.get_experiment(other))
    refused("run in a deleted experiment", lambda: mlflow.start_run(experiment_id=other))
    refused("set a deleted experiment", lambda: mlflow.set_experiment(NAME + "-other"))
    note("experiments", mlflow.search_experiments(filter_string=f"name LIKE '{NAME}%'", view_type=3, order_by=["name"]))


def files(mlflow, np):
    os.makedirs("folder/inner")
    for path, text in (("x.txt", "hello"), ("folder/a.csv", "a,b\n1,2\n"), ("folder/inner/ü n.txt", "é"), ("empty.bin", "")):
        open(path, "w").write(text)
    mlflow.log_artifact("x.txt")
    mlflow.log_artifact("x.txt", artifact_path="sub/dir")
    mlflow.log_artifact("empty.bin")
    mlflow.log_artifacts("folder")
    mlflow.log_artifacts("folder", artifact_path="again")
    mlflow.log_dict({"k": [1, 2, {"x": None}]}, "dict.json")
    mlflow.log_dict({"k": 1}, "conf/dict.yaml")
    mlflow.log_text("<b>text</b>", "page.html")
    mlflow.log_table({"a": [1, 2], "b": ["x", "y"]}, "table.json")
    mlflow.log_table({"a": [3], "b": ["z"]}, "table.json")
    mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), "image.png")
    mlflow.log_image(np.zeros((4, 4, 3), dtype=np.uint8), key="dots", step=3, timestamp=1_700_000_000_000)
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2])
    mlflow.log_figure(figure, "figure.png")
    uri = note("place", mlflow.get_artifact_uri())
    note("place of a file", mlflow.get_artifact_uri("sub/dir"))
    listed = [(f.path, f.is_dir, f.file_size or 0) for f in mlflow.artifacts.list_artifacts(uri)]
    # The name of a logged image holds a random part, a figure's size the version of its library.
    note("files", [f for f in listed if f[0] != "figure.png"])
    note("files of a folder", [(f.path, f.is_dir, f.file_size or 0) for f in mlflow.artifacts.list_artifacts(uri + "/again")])
    note("text", mlflow.artifacts.load_text(uri + "/page.html"))
    note("dict", mlflow.artifacts.load_dict(uri + "/dict.json"))
    note("table", mlflow.load_table("table.json", run_ids=[mlflow.active_run().info.run_id]).to_dict())
    there = mlflow.artifacts.download_artifacts(artifact_uri=uri + "/again", dst_path="down")
    note("downloaded", sorted((os.path.relpath(os.path.join(d, f), there), open(os.path.join(d, f)).read()) for d, _, fs in os.walk(there) for f in fs))
    refused("no such file", lambda: mlflow.artifacts.download_artifacts(artifact_uri=uri + "/nope.txt"))


def inputs(mlflow, pd, np):
    frame = pd.DataFrame({"a": [1, 2, 3], "y": [0, 1, 0]})
    dataset = mlflow.data.from_pandas(frame, source="https://example.com/data.csv", name="train", targets="y")
    mlflow.log_input(dataset, context="training", tags={"v": "1"})
    mlflow.log_input(dataset, context="training")
    mlflow.log_input(mlflow.data.from_numpy(np.arange(6).reshape(2, 3), name="eval"), context="eval")
    mlflow.log_inputs([dataset], contexts=["again"], tags_list=[None])
    got = mlflow.get_run(mlflow.active_run().info.run_id).inputs.dataset_inputs
    note("inputs", sorted((twice.plain(i) for i in got), key=str))
    mlflow.log_metric("on data", 0.5, dataset=dataset)


def searches(mlflow, first):
    def frame(name, **how):
        found = mlflow.search_runs(experiment_names=[NAME], **how)
        columns = [c for c in sorted(found.columns) if not c.endswith("_time")]
        note(f"search {name}", found[columns].to_dict("records"))

    frame("all", order_by=["attributes.start_time ASC"])
    frame("filtered", filter_string="metrics.loss < 1 and params.depth = '3'")
    frame("by metric", order_by=["metrics.loss DESC"], max_results=2)
    frame("parents", filter_string="tags.`mlflow.parentRunId` IS NOT NULL", order_by=["attributes.start_time ASC"])
    note("as runs", mlflow.search_runs(experiment_names=[NAME], output_format="list", filter_string="run_name = 'first'"))
    refused("bad filter", lambda: mlflow.search_runs(experiment_names=[NAME], filter_string="metrics.loss LIKE 'x'"))
    client = mlflow.MlflowClient()
    for key in ("loss", "back", "nan", "inf", "nothing"):
        note(f"history {key}", client.get_metric_history(first, key))


def in_the_background(mlflow):
    with mlflow.start_run(run_name="background") as run:
        waits = [mlflow.log_metric("m", i, step=i, timestamp=1_700_000_000_000 + i, synchronous=False) for i in range(30)]
        waits += [mlflow.log_param("p", 1, synchronous=False), mlflow.set_tag("t", 1, synchronous=False)]
        waits += [mlflow.log_metrics({"n": 1}, step=1, timestamp=1_700_000_000_000, synchronous=False), mlflow.log_params({"q": 2}, synchronous=False)]
        for wait in waits:
            wait.wait()
        mlflow.flush_async_logging()
    run_of(mlflow, run.info.run_id)
    note("background history", sorted((m.step, m.value) for m in mlflow.MlflowClient().get_metric_history(run.info.run_id, "m")))


if __name__ == "__main__":
    twice.main(script)
