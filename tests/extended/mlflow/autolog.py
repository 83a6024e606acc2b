"""Autologging of scikit-learn, XGBoost and LightGBM, and the models loaded again."""

import os

import twice
from twice import NAME, note

QUIET = {"log_datasets": True, "log_models": True, "log_model_signatures": True, "log_input_examples": False, "silent": True}


def script():
    import mlflow

    # To find a model's requirements MLflow would import everything anew, in a process for each model: ten seconds each.
    import mlflow.utils.environment as environment

    environment.infer_pip_requirements = lambda *args, fallback=None, **kwargs: list(fallback or ["numpy"])
    note("experiment", mlflow.set_experiment(NAME))
    sklearn(mlflow)
    search(mlflow)
    xgboost(mlflow)
    lightgbm(mlflow)


def look(mlflow, name, predict):
    """The last run as it was logged, and its model."""
    run = mlflow.last_active_run()
    metrics = {k: round(v, 6) for k, v in run.data.metrics.items()}
    note(f"{name} params", run.data.params)
    note(f"{name} metrics", metrics)
    note(f"{name} tags", {k: v for k, v in run.data.tags.items() if k != "mlflow.log-model.history"})
    note(f"{name} info", {"status": run.info.status, "name": run.info.run_name})
    note(f"{name} datasets", [{"name": d.dataset.name, "digest": d.dataset.digest, "tags": d.tags, "schema": d.dataset.schema} for d in run.inputs.dataset_inputs])
    client = mlflow.MlflowClient()
    note(f"{name} files", files(client, run.info.run_id))
    for key in sorted(run.data.metrics):
        note(f"{name} history of {key}", [(m.step, round(m.value, 6)) for m in client.get_metric_history(run.info.run_id, key)])
    models = mlflow.search_logged_models(experiment_ids=[run.info.experiment_id], filter_string=f"source_run_id = '{run.info.run_id}'", output_format="list")
    for model in models:
        held = sorted((m.key, round(m.value, 6), m.dataset_name) for m in model.metrics if "_time" not in m.key)
        note(f"{name} model", {"name": model.name, "status": model.status, "type": model.model_type, "params": model.params, "metrics": held, "run": model.source_run_id})
        loaded = mlflow.pyfunc.load_model(model.model_uri)
        note(f"{name} predicts", predict(loaded))
    return run, models


def files(client, run, path=None):
    found = []
    for f in client.list_artifacts(run, path):
        found += files(client, run, f.path) if f.is_dir else [f.path]
    return found


def data():
    import pandas as pd
    from sklearn.datasets import load_iris

    iris = load_iris(as_frame=True)
    frame = iris.data.rename(columns=lambda c: c.replace(" (cm)", "").replace(" ", "_")).astype("float64")
    return frame, pd.Series(iris.target, name="kind")


def sklearn(mlflow):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = data()
    mlflow.sklearn.autolog(**QUIET)
    forest = RandomForestClassifier(n_estimators=3, max_depth=2, random_state=0).fit(x, y)
    forest.score(x, y)
    _, models = look(mlflow, "forest", lambda m: m.predict(x.head(3)))
    with mlflow.start_run(run_name="line"):
        make_pipeline(StandardScaler(), LinearRegression()).fit(x, y)
    look(mlflow, "line", lambda m: [round(float(v), 6) for v in m.predict(x.head(3))])
    registered = mlflow.register_model(models[0].model_uri, NAME + "-forest")
    note("registered", registered)
    loaded = mlflow.sklearn.load_model(f"models:/{NAME}-forest/1")
    note("loaded as it was", loaded.predict(x.tail(3)))


def search(mlflow):
    """A search for the best parameters: a parent and its children."""
    from sklearn.model_selection import GridSearchCV
    from sklearn.tree import DecisionTreeClassifier

    x, y = data()
    with mlflow.start_run(run_name="grid") as parent:
        GridSearchCV(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, 3]}, cv=2).fit(x, y)
    look(mlflow, "grid", lambda m: m.predict(x.head(3)))
    children = mlflow.search_runs(experiment_names=[NAME], filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", output_format="list")
    note("children", sorted(([c.data.params["max_depth"], round(c.data.metrics["mean_test_score"], 6)] for c in children), key=str))
    mlflow.sklearn.autolog(disable=True)


def xgboost(mlflow):
    import xgboost as xgb

    x, y = data()
    mlflow.xgboost.autolog(**QUIET)
    train = xgb.DMatrix(x, label=y)
    xgb.train({"objective": "multi:softprob", "num_class": 3, "seed": 0, "nthread": 1}, train, num_boost_round=4, evals=[(train, "train")], verbose_eval=False)
    look(mlflow, "xgboost", lambda m: [[round(float(v), 5) for v in row] for row in m.predict(x.head(2))])
    mlflow.xgboost.autolog(disable=True)


def lightgbm(mlflow):
    import lightgbm as lgb

    x, y = data()
    mlflow.lightgbm.autolog(**QUIET)
    train = lgb.Dataset(x, label=y)
    lgb.train({"objective": "multiclass", "num_class": 3, "seed": 0, "num_threads": 1, "verbose": -1}, train, num_boost_round=4, valid_sets=[train], valid_names=["train"])
    look(mlflow, "lightgbm", lambda m: [[round(float(v), 5) for v in row] for row in m.predict(x.head(2))])
    mlflow.lightgbm.autolog(disable=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    twice.main(script)
