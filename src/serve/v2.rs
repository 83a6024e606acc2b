//! The Open Inference Protocol V2 over REST (`inference_rest.md` of kserve/open-inference-protocol): bodies to tensors and back.

use super::{
    Called,
    json::{self, Flat},
    onnx::{
        Model, Port,
        tensor::{Tensor, count},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    id: Option<String>,
    inputs: Vec<Input>,
    outputs: Option<Vec<Output>>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    data: Flat,
}

#[derive(Deserialize)]
struct Output {
    name: String,
}

/// A request, checked against a model.
#[derive(Debug)]
pub struct Infer {
    id: Option<String>,
    pub inputs: Vec<Tensor>,
    /// Places of the outputs that are asked for.
    outputs: Vec<usize>,
}

/// Reads the body of `infer`.
pub fn read(model: &Model, body: &[u8]) -> Result<Infer, String> {
    let request: Request =
        serde_json::from_slice(body).map_err(|e| format!("the body is no inference request: {e}"))?;
    let names = |ports: &[Port]| ports.iter().map(|p| format!("`{}`", p.name)).collect::<Vec<_>>().join(", ");
    let find = |ports: &[Port], name: &str, what: &str| {
        let place = ports.iter().position(|p| p.name == name);
        place.ok_or_else(|| format!("the model has no {what} `{name}`: it has {}", names(ports)))
    };
    let mut inputs: Vec<Option<Tensor>> = vec![None; model.inputs.len()];
    for input in request.inputs {
        let place = find(&model.inputs, &input.name, "input")?;
        let name = input.name.clone();
        let tensor = tensor(&model.inputs[place], input).map_err(|e| format!("input `{name}`: {e}"))?;
        if inputs[place].replace(tensor).is_some() {
            return Err(format!("input `{name}` is given twice"));
        }
    }
    let given = inputs.into_iter().zip(&model.inputs);
    let inputs =
        given.map(|(i, p)| i.ok_or_else(|| format!("input `{}` is missing", p.name))).collect::<Result<_, _>>()?;
    let outputs = match request.outputs.filter(|all| !all.is_empty()) {
        None => (0..model.outputs.len()).collect(),
        Some(all) => {
            let mut asked = vec![false; model.outputs.len()];
            let mut one = |output: &Output| {
                let place = find(&model.outputs, &output.name, "output")?;
                match std::mem::replace(&mut asked[place], true) {
                    // A short name may stand for much: asked for again and again, it would take all memory.
                    true => Err(format!("output `{}` is asked for twice", output.name)),
                    false => Ok(place),
                }
            };
            all.iter().map(&mut one).collect::<Result<_, _>>()?
        }
    };
    Ok(Infer { id: request.id, inputs, outputs })
}

fn tensor(port: &Port, input: Input) -> Result<Tensor, String> {
    if input.datatype != port.kind.name() {
        return Err(format!("the model takes {}, not {}", port.kind.name(), input.datatype));
    }
    let shape: Option<Vec<usize>> = input.shape.iter().map(|d| usize::try_from(*d).ok()).collect();
    let n = shape.as_deref().and_then(count);
    let (Some(shape), Some(n)) = (shape, n) else { return Err(format!("shape {:?} is too large", input.shape)) };
    if input.data.len() != n {
        return Err(format!("{} values for shape {shape:?}", input.data.len()));
    }
    if input.data.dims.len() > 1 && input.data.dims != shape {
        return Err(format!("the data is nested as {:?}, not as its shape {shape:?}", input.data.dims));
    }
    port.takes(&shape)?;
    Ok(Tensor::new(shape, input.data.of(port.kind)?))
}

impl Port {
    /// Whether a tensor of this shape goes in.
    pub fn takes(&self, shape: &[usize]) -> Result<(), String> {
        // A model that says nothing of the shape takes any.
        let fits = self.shape.is_empty()
            || shape.len() == self.shape.len()
                && self.shape.iter().zip(shape).all(|(want, d)| want.is_none_or(|w| w == *d));
        if fits { Ok(()) } else { Err(format!("the model takes shape {:?}, not {shape:?}", self.wire_shape())) }
    }

    /// With -1 where a dimension is free.
    fn wire_shape(&self) -> Vec<i64> {
        self.shape.iter().map(|d| d.map_or(-1, |d| d as i64)).collect()
    }
}

impl Infer {
    /// The reply's body.
    pub fn reply(&self, called: &Called, model: &Model, results: &[Tensor]) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"{\"model_name\":");
        json::value(&mut out, &called.name);
        out.extend_from_slice(b",\"model_version\":");
        json::value(&mut out, &called.version);
        if let Some(id) = &self.id {
            out.extend_from_slice(b",\"id\":");
            json::value(&mut out, id);
        }
        out.extend_from_slice(b",\"outputs\":[");
        for (i, place) in self.outputs.iter().enumerate() {
            let tensor = &results[*place];
            out.extend_from_slice(if i > 0 { b",{\"name\":" } else { b"{\"name\":" });
            json::value(&mut out, &model.outputs[*place].name);
            out.extend_from_slice(b",\"shape\":");
            json::value(&mut out, &tensor.shape);
            out.extend_from_slice(b",\"datatype\":\"");
            out.extend_from_slice(tensor.data.kind().name().as_bytes());
            out.extend_from_slice(b"\",\"data\":[");
            json::write(&mut out, &tensor.data, 0, tensor.data.len());
            out.extend_from_slice(b"]}");
        }
        out.extend_from_slice(b"]}");
        out
    }
}

/// `GET /v2`.
pub fn server() -> Value {
    json!({ "name": "trimtab", "version": env!("CARGO_PKG_VERSION"), "extensions": [] })
}

/// `GET /v2/models/NAME`.
pub fn metadata(called: &Called, model: &Model) -> Value {
    let port = |p: &Port| {
        let mut port = json!({ "name": p.name, "datatype": p.kind.name(), "shape": p.wire_shape() });
        if let Some(classes) = &p.classes {
            port["parameters"] = json!({ "classes": classes });
        }
        port
    };
    let mut parameters = json!(model.properties);
    parameters["producer"] = model.producer.as_str().into();
    if !model.description.is_empty() {
        parameters["description"] = model.description.as_str().into();
    }
    json!({
        "name": called.name,
        "versions": [called.version],
        "platform": "onnx",
        "inputs": model.inputs.iter().map(port).collect::<Vec<_>>(),
        "outputs": model.outputs.iter().map(port).collect::<Vec<_>>(),
        "parameters": parameters,
    })
}
