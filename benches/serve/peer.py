"""What a team writes today: an ONNX model behind FastAPI, with the same requests and answers as ours."""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request

app = FastAPI()
session = onnxruntime.InferenceSession(os.path.join(os.environ["TRIMTAB_ARTIFACT"], "model.onnx"))


@app.post("/v2/models/forest/infer")
async def infer(request: Request):
    given = (await request.json())["inputs"][0]
    rows = np.array(given["data"], dtype=np.float32).reshape(given["shape"])
    outputs = []
    for output, answer in zip(session.get_outputs(), session.run(None, {given["name"]: rows})):
        kind = "INT64" if answer.dtype == np.int64 else "FP32"
        outputs.append({"name": output.name, "shape": list(answer.shape), "datatype": kind, "data": answer.ravel().tolist()})
    return {"model_name": "forest", "outputs": outputs}
