"""A forest of 100 trees over 30 columns, and a request of one row: `python export.py FOLDER`."""

import json
import pathlib
import sys

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier

folder = pathlib.Path(sys.argv[1])
x, y = load_breast_cancer(return_X_y=True)
x = x.astype(np.float32)
forest = RandomForestClassifier(100, random_state=0).fit(x, y)
model = to_onnx(forest, x[:1], options={id(forest): {"zipmap": False}})
(folder / "model.onnx").write_bytes(model.SerializeToString())
row = {"name": "X", "shape": [1, 30], "datatype": "FP32", "data": x[0].tolist()}
body = json.dumps({"inputs": [row]})
(folder / "request.json").write_text(body)
lua = f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = {json.dumps(body)}\n"
(folder / "post.lua").write_text(lua)
