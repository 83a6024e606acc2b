"""Exports models with skl2onnx, and asks onnxruntime for their answers: `python export.py FOLDER`, one NAME.onnx and NAME.json each."""

import json
import pathlib
import sys
import warnings

import numpy as np
import onnxruntime
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

warnings.filterwarnings("ignore")
folder = pathlib.Path(sys.argv[1])
two, three, figures = (
    (x.astype(np.float32), y) for x, y in (load(return_X_y=True) for load in (load_breast_cancer, load_iris, load_diabetes))
)
names = np.array(["benign", "malignant"])[two[1]]
network = dict(hidden_layer_sizes=(16, 8), random_state=0, max_iter=300)
scaled = lambda model: make_pipeline(StandardScaler(), model)
MODELS = {
    "linear": (scaled(LinearRegression()), figures),
    "logistic": (scaled(LogisticRegression()), two),
    "logistic-names": (scaled(LogisticRegression()), (two[0], names)),
    "logistic-three": (scaled(LogisticRegression()), three),
    "forest": (RandomForestClassifier(100, random_state=0), two),
    "forest-names": (scaled(RandomForestClassifier(20, random_state=0)), (two[0], names)),
    "forest-three": (RandomForestClassifier(100, random_state=0), three),
    "forest-regressor": (RandomForestRegressor(100, random_state=0), figures),
    "boosting": (GradientBoostingClassifier(random_state=0), two),
    "boosting-three": (GradientBoostingClassifier(random_state=0), three),
    "boosting-regressor": (GradientBoostingRegressor(random_state=0), figures),
    "histograms": (HistGradientBoostingClassifier(random_state=0), two),
    "histograms-three": (HistGradientBoostingClassifier(random_state=0, max_iter=30), three),
    "histograms-regressor": (HistGradientBoostingRegressor(random_state=0), figures),
    "network": (scaled(MLPClassifier(**network)), two),
    "network-three": (scaled(MLPClassifier(**network)), three),
    "network-tanh": (scaled(MLPClassifier(activation="tanh", **network)), three),
    "network-regressor": (scaled(MLPRegressor(**network)), figures),
    "imputed": (make_pipeline(SimpleImputer(), MinMaxScaler(), Normalizer(), LogisticRegression()), three),
}
MISSING = ("imputed", "histograms", "histograms-regressor")

for name, (model, (x, y)) in MODELS.items():
    model.fit(x, y)
    for zipmap in (True, False):
        if not zipmap and not hasattr(model, "predict_proba"):
            continue
        options = None if zipmap else {id(model): {"zipmap": False}}
        file = folder / (name if zipmap else f"{name}-plain")
        file.with_suffix(".onnx").write_bytes(to_onnx(model, x[:1], options=options).SerializeToString())
        rows = x[:: max(1, len(x) // 60)].copy()
        if name in MISSING:
            rows[::3, 1] = np.nan
        session = onnxruntime.InferenceSession(str(file.with_suffix(".onnx")))
        answers = {}
        for output, answer in zip(session.get_outputs(), session.run(None, {session.get_inputs()[0].name: rows})):
            if isinstance(answer, list):
                answer = np.array([list(row.values()) for row in answer])
            answers[output.name] = answer.ravel().tolist()
        plain = [[None if np.isnan(v) else float(v) for v in row] for row in rows]
        document = {"input": session.get_inputs()[0].name, "rows": plain, "outputs": answers}
        file.with_suffix(".json").write_text(json.dumps(document))
