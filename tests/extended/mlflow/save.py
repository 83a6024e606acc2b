"""Saves a model with MLflow, with rows and what it says of them: `python save.py FOLDER`."""

import json
import sys

import mlflow
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

folder = sys.argv[1]
x, y = load_iris(return_X_y=True, as_frame=True)
model = LogisticRegression(max_iter=500).fit(x, y)
mlflow.sklearn.save_model(model, f"{folder}/model", signature=infer_signature(x, model.predict(x)))
document = {"columns": list(x.columns), "rows": x.values[::30].tolist(), "labels": model.predict(x)[::30].tolist()}
with open(f"{folder}/expected.json", "w") as f:
    json.dump(document, f)
