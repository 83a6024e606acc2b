"""Trains a gradient-boosted classifier on a CSV file whose last column is the label."""

import csv
import json
import os
import pathlib

import joblib
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from sklearn.model_selection import train_test_split

with open(os.environ["TRIMTAB_PARAMS"]) as file:
    params = json.load(file)
with open(os.environ["TRIMTAB_INPUT_TRAIN"], newline="") as file:
    header, *rows = csv.reader(file)
x = [[float(cell) for cell in row[:-1]] for row in rows]
y = [int(row[-1]) for row in rows]

x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=7, stratify=y)
model = GradientBoostingClassifier(random_state=7, **params)
model.fit(x_train, y_train)

scores = model.predict_proba(x_test)[:, 1]
predicted = model.predict(x_test)
metrics = {
    "auc": roc_auc_score(y_test, scores),
    "recall": recall_score(y_test, predicted),
    "accuracy": accuracy_score(y_test, predicted),
}
print(f"trained on {len(x_train)} rows with {params}: {metrics}")
with open(os.environ["TRIMTAB_METRICS"], "a") as file:
    file.write(json.dumps(metrics) + "\n")

joblib.dump({"model": model, "features": header[:-1]}, pathlib.Path(os.environ["TRIMTAB_OUTPUT"]) / "model.joblib")
