//! MLflow's `/invocations`, as its scoring server has it (3.17.2, `pyfunc/scoring_server`) for models of its ONNX flavour: frames are
//! answered with records, tensors with one tensor for each output.

use super::{
    json::{self, Flat},
    onnx::{
        Model, Port,
        tensor::{MOST_HELD, Tensor, count},
    },
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A request, checked against a model.
#[derive(Debug)]
pub struct Invocation {
    pub inputs: Vec<Tensor>,
    /// A frame was asked about.
    records: bool,
}

const FORMS: [&str; 4] = ["dataframe_split", "dataframe_records", "instances", "inputs"];

/// Rows under columns.
#[derive(Deserialize)]
struct Frame {
    columns: Option<Vec<Value>>,
    data: Vec<Vec<Value>>,
}

/// Reads a JSON body.
pub fn read(model: &Model, body: &[u8]) -> Result<Invocation, String> {
    let body: Value = serde_json::from_slice(body).map_err(|e| format!("the body is no JSON: {e}"))?;
    let Value::Object(mut body) = body else { return Err("the body must be a JSON object".into()) };
    // Parameters of a call mean nothing to an ONNX graph.
    body.remove("params");
    let (Some(form), 1) = (FORMS.iter().find(|f| body.contains_key(**f)), body.len()) else {
        return Err(format!("the body must have exactly one of {}, and may have `params`", FORMS.join(", ")));
    };
    let value = body.remove(*form).unwrap_or_default();
    let inputs = match *form {
        "dataframe_split" => {
            let frame: Frame = serde_json::from_value(value).map_err(|e| format!("`{form}`: {e}"))?;
            from_frame(model, frame)
        }
        "dataframe_records" => {
            let records: Vec<Map<String, Value>> =
                serde_json::from_value(value).map_err(|e| format!("`{form}`: {e}"))?;
            let columns: Vec<String> = records.first().map_or(vec![], |r| r.keys().cloned().collect());
            // As in a frame, what a record does not have is missing there.
            let row = |mut r: Map<String, Value>| columns.iter().map(|c| r.remove(c).unwrap_or_default()).collect();
            let data = records.into_iter().map(row).collect();
            from_frame(model, Frame { columns: Some(columns.iter().cloned().map(Value::String).collect()), data })
        }
        _ => from_tensors(model, value),
    };
    Ok(Invocation { inputs: inputs.map_err(|e| format!("`{form}`: {e}"))?, records: form.starts_with("dataframe") })
}

/// Reads a CSV body: a line of names, then rows. What is no number is a text, what is empty is missing.
pub fn read_csv(model: &Model, body: &[u8]) -> Result<Invocation, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
    let mut lines = csv(text)?.into_iter();
    let columns = lines.next().ok_or("the body is empty")?.into_iter().map(Value::String).collect();
    let cell = |cell: String| match serde_json::from_str::<serde_json::Number>(&cell) {
        _ if cell.is_empty() => Value::Null,
        Ok(number) => Value::Number(number),
        Err(_) => Value::String(cell),
    };
    let data = lines.map(|line| line.into_iter().map(cell).collect()).collect();
    Ok(Invocation { inputs: from_frame(model, Frame { columns: Some(columns), data })?, records: true })
}

/// Lines of cells; a cell in quotes may hold commas and line feeds, and a quote that stands twice.
fn csv(text: &str) -> Result<Vec<Vec<String>>, String> {
    let (mut lines, mut line, mut cell) = (vec![], vec![], String::new());
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                cell.push('"');
            }
            '"' if quoted || cell.is_empty() => quoted = !quoted,
            ',' if !quoted => line.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                line.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut line));
            }
            '\r' if !quoted => {}
            c => cell.push(c),
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    if !cell.is_empty() || !line.is_empty() {
        line.push(cell);
        lines.push(line);
    }
    Ok(lines)
}

/// A model of one input gets the frame as it stands, one of several gets each column by its name.
fn from_frame(model: &Model, frame: Frame) -> Result<Vec<Tensor>, String> {
    let width = frame.columns.as_ref().map(Vec::len).or(frame.data.first().map(Vec::len)).unwrap_or(0);
    if let Some(row) = frame.data.iter().find(|row| row.len() != width) {
        return Err(format!("a row of {} values under {width} columns", row.len()));
    }
    if let [port] = model.inputs.as_slice() {
        let rows = frame.data.into_iter().map(Value::Array).collect();
        return Ok(vec![from_value(port, Value::Array(rows))?]);
    }
    let columns = frame.columns.unwrap_or_default();
    let mut data = frame.data;
    let mut column = |port: &Port| {
        let place = columns.iter().position(|c| c.as_str() == Some(&port.name));
        let place = place.ok_or_else(|| format!("column `{}` is missing", port.name))?;
        from_value(port, Value::Array(data.iter_mut().map(|row| row[place].take()).collect()))
    };
    model.inputs.iter().map(&mut column).collect()
}

/// One tensor for a model of one input, or an object of them; `instances` may be a list of objects, one for each row.
fn from_tensors(model: &Model, value: Value) -> Result<Vec<Tensor>, String> {
    let missing = |port: &Port| format!("input `{}` is missing", port.name);
    match value {
        Value::Object(mut all) => {
            let mut take = |port: &Port| from_value(port, all.remove(&port.name).ok_or_else(|| missing(port))?);
            let inputs = model.inputs.iter().map(&mut take).collect::<Result<_, _>>()?;
            match all.keys().next() {
                Some(other) => Err(format!("the model has no input `{other}`")),
                None => Ok(inputs),
            }
        }
        Value::Array(mut rows) if rows.first().is_some_and(Value::is_object) => {
            let mut take = |port: &Port| {
                let cell = |row: &mut Value| row.get_mut(&port.name).map(Value::take).ok_or_else(|| missing(port));
                from_value(port, Value::Array(rows.iter_mut().map(cell).collect::<Result<_, _>>()?))
            };
            model.inputs.iter().map(&mut take).collect()
        }
        value => match model.inputs.as_slice() {
            [port] => Ok(vec![from_value(port, value)?]),
            _ => Err(format!("the model has {} inputs: give each by its name", model.inputs.len())),
        },
    }
}

fn from_value(port: &Port, value: Value) -> Result<Tensor, String> {
    let told = |e: String| format!("input `{}`: {e}", port.name);
    let flat = Flat::deserialize(value).map_err(|e| told(e.to_string()))?;
    let mut shape = flat.dims.clone();
    // A column is a vector; the model may take it as a matrix of one column.
    if shape.len() == 1 && port.shape.len() == 2 && port.shape[1].is_none_or(|d| d == 1) {
        shape.push(1);
    }
    if count(&shape) != Some(flat.len()) {
        return Err(told(format!("{} values in arrays of {shape:?}", flat.len())));
    }
    port.takes(&shape).map_err(told)?;
    Ok(Tensor::new(shape, flat.of(port.kind).map_err(told)?))
}

impl Invocation {
    /// The reply's body.
    pub fn reply(&self, model: &Model, results: &[Tensor]) -> Result<Vec<u8>, String> {
        let mut out = b"{\"predictions\":".to_vec();
        let rows = results.iter().filter_map(|r| r.shape.first()).copied().min().unwrap_or(0);
        // Each row has all names.
        let classes = |p: &Port| p.classes.iter().flatten().map(String::len).sum::<usize>();
        let names: usize = model.outputs.iter().map(|p| p.name.len() + classes(p)).sum();
        if rows.saturating_mul(names) > MOST_HELD {
            return Err("the answer is too large".into());
        }
        if self.records {
            list(&mut out, b"[]", 0..rows, |out, row| {
                list(out, b"{}", results.iter().zip(&model.outputs), |out, (tensor, port)| {
                    json::value(out, &port.name);
                    out.push(b':');
                    one(out, port, tensor, row);
                });
            });
        } else {
            list(&mut out, b"{}", results.iter().zip(&model.outputs), |out, (tensor, port)| {
                json::value(out, &port.name);
                out.push(b':');
                match &port.classes {
                    Some(_) => list(out, b"[]", 0..rows, |out, row| one(out, port, tensor, row)),
                    None => json::nested(out, &tensor.data, &tensor.shape, 0),
                }
            });
        }
        out.push(b'}');
        Ok(out)
    }
}

/// Items between brackets, with commas.
fn list<T>(out: &mut Vec<u8>, brackets: &[u8; 2], items: impl Iterator<Item = T>, mut f: impl FnMut(&mut Vec<u8>, T)) {
    out.push(brackets[0]);
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        f(out, item);
    }
    out.push(brackets[1]);
}

/// A row of an output: a figure for each class, one value, or an array.
fn one(out: &mut Vec<u8>, port: &Port, tensor: &Tensor, row: usize) {
    let Some((_, inner)) = tensor.shape.split_first() else { return json::write(out, &tensor.data, 0, 1) };
    let width = count(inner).unwrap_or(0);
    match &port.classes {
        Some(classes) if classes.len() == width => list(out, b"{}", classes.iter().enumerate(), |out, (i, class)| {
            json::value(out, class);
            out.push(b':');
            json::write(out, &tensor.data, row * width + i, row * width + i + 1);
        }),
        _ if width == 1 => json::write(out, &tensor.data, row, row + 1),
        _ => json::nested(out, &tensor.data, inner, row * width),
    }
}
