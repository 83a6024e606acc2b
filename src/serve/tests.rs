use super::{
    Called,
    engine::{self, Batching, Engine},
    invocations,
    onnx::{
        Model,
        tensor::{Data, Tensor},
    },
    v2,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// A model of tests/fixtures/onnx, and what onnxruntime answers for five rows.
macro_rules! fixture {
    ($name:literal) => {{
        let model = include_bytes!(concat!("../../tests/fixtures/onnx/", $name, ".onnx"));
        let answers = include_str!(concat!("../../tests/fixtures/onnx/", $name, ".json"));
        (Model::load(model).unwrap(), serde_json::from_str::<Value>(answers).unwrap())
    }};
}

const WAIT: Duration = Duration::from_millis(1);

fn close(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() <= 1e-5,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(k, v)| close(v, &b[k])),
        (a, b) => a == b,
    }
}

fn invoked(model: &Model, body: &Value) -> Result<Value, String> {
    let call = invocations::read(model, body.to_string().as_bytes())?;
    let results = engine::run(model, call.inputs.clone())?;
    Ok(serde_json::from_slice(&call.reply(model, &results)?).unwrap())
}

fn inferred(model: &Model, body: &Value) -> Result<Value, String> {
    let call = v2::read(model, body.to_string().as_bytes())?;
    let results = engine::run(model, call.inputs.clone())?;
    let called = Called { name: "iris".into(), version: "v7".into() };
    Ok(serde_json::from_slice(&call.reply(&called, model, &results)).unwrap())
}

#[test]
fn answers_are_those_of_onnxruntime() {
    for (model, answers) in [fixture!("forest"), fixture!("columns"), fixture!("centred")] {
        let said = invoked(&model, &json!({ "inputs": answers["inputs"] })).unwrap();
        assert!(close(&said["predictions"], &answers["outputs"]), "{said} {answers}");
    }
}

#[test]
fn frames_records_and_csv_are_answered_with_records() {
    let (model, answers) = fixture!("forest");
    let rows = answers["inputs"]["X"].as_array().unwrap();
    let split =
        invoked(&model, &json!({ "dataframe_split": { "columns": ["a", "b", "c", "d"], "data": rows } })).unwrap();
    let record = |r: &Value| json!({ "a": r[0], "b": r[1], "c": r[2], "d": r[3] });
    let records: Vec<Value> = rows.iter().map(record).collect();
    assert_eq!(invoked(&model, &json!({ "dataframe_records": records, "params": {} })).unwrap(), split);
    let first = &split["predictions"][0];
    assert_eq!(first["output_label"], 0);
    assert!(close(&first["output_probability"], &answers["outputs"]["output_probability"][0]), "{split}");
    let csv = "a,b,\"c\",d\r\n".to_owned()
        + &rows.iter().map(|r| r.to_string().replace(['[', ']'], "") + "\n").collect::<String>();
    let call = invocations::read_csv(&model, csv.as_bytes()).unwrap();
    let results = engine::run(&model, call.inputs.clone()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&call.reply(&model, &results).unwrap()).unwrap(), split);

    let (model, answers) = fixture!("columns");
    let said =
        model_of_columns(&model, r#"{"dataframe_records": [{"colour": "red", "size": 0, "more": [1]}]}"#).unwrap();
    assert!(
        close(&said["predictions"][0]["output_probability"], &answers["outputs"]["output_probability"][0]),
        "{said}"
    );
    let instances = json!({ "instances": [{ "size": [1], "colour": ["green"] }] });
    assert_eq!(invoked(&model, &instances).unwrap()["predictions"]["output_label"], json!(["low"]));
}

fn model_of_columns(model: &Model, body: &str) -> Result<Value, String> {
    invoked(model, &serde_json::from_str(body).unwrap())
}

#[test]
fn an_inference_request_is_answered_with_the_outputs_it_asks_for() {
    let (model, answers) = fixture!("forest");
    let data = &answers["inputs"]["X"];
    let input = json!({ "name": "X", "shape": [5, 4], "datatype": "FP32", "data": data });
    let said = inferred(&model, &json!({ "id": "42", "inputs": [input], "parameters": { "x": 1 } })).unwrap();
    assert_eq!(
        (&said["id"], &said["model_name"], &said["model_version"]),
        (&json!("42"), &json!("iris"), &json!("v7"))
    );
    let labels = json!({ "name": "output_label", "shape": [5], "datatype": "INT64", "data": answers["outputs"]["output_label"] });
    assert_eq!(said["outputs"][0], labels);
    assert_eq!(said["outputs"][1]["shape"], json!([5, 3]));
    let flat: Vec<&Value> = data.as_array().unwrap().iter().flat_map(|r| r.as_array().unwrap()).collect();
    let input = json!({ "name": "X", "shape": [5, 4], "datatype": "FP32", "data": flat });
    let one = inferred(&model, &json!({ "inputs": [input], "outputs": [{ "name": "output_label" }] })).unwrap();
    assert_eq!(one["outputs"], json!([labels]));
    let about = v2::metadata(&Called { name: "iris".into(), version: "v7".into() }, &model);
    assert_eq!(about["inputs"], json!([{ "name": "X", "datatype": "FP32", "shape": [-1, 4] }]));
    assert_eq!(about["outputs"][1]["parameters"]["classes"], json!(["0", "1", "2"]));
}

#[test]
fn a_request_that_does_not_fit_is_told_why() {
    let (model, _) = fixture!("forest");
    let (columns, _) = fixture!("columns");
    for (input, said) in [
        (r#"{"name":"Y","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}"#, "no input `Y`: it has `X`"),
        (r#"{"name":"X","shape":[1,4],"datatype":"FP64","data":[1,2,3,4]}"#, "takes FP32, not FP64"),
        (r#"{"name":"X","shape":[1,5],"datatype":"FP32","data":[1,2,3,4,5]}"#, "takes shape [-1, 4], not [1, 5]"),
        (r#"{"name":"X","shape":[4],"datatype":"FP32","data":[1,2,3,4]}"#, "takes shape [-1, 4], not [4]"),
        (r#"{"name":"X","shape":[2,4],"datatype":"FP32","data":[1,2,3,4]}"#, "4 values for shape [2, 4]"),
        (r#"{"name":"X","shape":[2,4],"datatype":"FP32","data":[[1,2,3,4],[1,2,3]]}"#, "rows of 4 and of 3"),
        (r#"{"name":"X","shape":[2,4],"datatype":"FP32","data":[[1,2],[3,4],[1,2],[3,4]]}"#, "nested as [4, 2]"),
        (r#"{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,[4]]}"#, "not nested evenly"),
        (r#"{"name":"X","shape":[1,4],"datatype":"FP32","data":[[1,2,3,4],5]}"#, "not nested evenly"),
        (r#"{"name":"X","shape":[1,4],"datatype":"FP32","data":["a","b","c","d"]}"#, "texts where FP32"),
        (r#"{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,"b",3,4]}"#, "texts and other values"),
        (r#"{"name":"X","shape":[1,4],"datatype":"FP32","data":[true,false,true,true]}"#, "booleans where FP32"),
        (r#"{"name":"X","shape":[1,4],"datatype":"FP32","data":[1e39,0,0,0]}"#, "1e39 is beyond FP32"),
        (r#"{"name":"X","shape":[1,4],"datatype":"FP32","data":[NaN,0,0,0]}"#, "no inference request"),
        (r#"{"name":"X","shape":[1,4],"datatype":"FP32","data":{"a":1}}"#, "no inference request"),
        (r#"{"name":"X","shape":[-1,4],"datatype":"FP32","data":[1,2,3,4]}"#, "no inference request"),
        (r#"{"name":"X","shape":[99999999999999999999,4],"datatype":"FP32","data":[]}"#, "no inference request"),
        (r#"{"name":"X","shape":[9223372036854775807,4],"datatype":"FP32","data":[]}"#, "too large"),
        (r#"{"name":"X","shape":[0,18446744073709551615],"datatype":"FP32","data":[]}"#, "too large"),
        (r#"{"shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}"#, "missing field `name`"),
    ] {
        let e = v2::read(&model, format!("{{\"inputs\":[{input}]}}").as_bytes()).unwrap_err();
        assert!(e.contains(said), "{input}: {e}");
    }
    let twice = r#"{"name":"X","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}"#;
    let more = [
        ("".to_owned(), "no inference request"),
        ("[]".to_owned(), "no inference request"),
        ("{}".to_owned(), "missing field `inputs`"),
        ("{\"inputs\":[]}".to_owned(), "input `X` is missing"),
        (format!("{{\"inputs\":[{twice},{twice}]}}"), "given twice"),
        (format!("{{\"inputs\":[{twice}],\"outputs\":[{{\"name\":\"z\"}}]}}"), "no output `z`"),
        (format!("{{\"inputs\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)), "no inference request"),
    ];
    for (body, said) in more {
        let e = v2::read(&model, body.as_bytes()).unwrap_err();
        assert!(e.contains(said), "{said}: {e}");
    }
    for (model, body, said) in [
        (&model, r#"{"instances":[[1,2,3,4]],"inputs":[[1,2,3,4]]}"#, "exactly one of"),
        (&model, r#"{"rows":[[1,2,3,4]]}"#, "exactly one of"),
        (&model, r#"{"params":{}}"#, "exactly one of"),
        (&model, r#"{"instances":[[1,2,3]]}"#, "takes shape [-1, 4], not [1, 3]"),
        (&model, r#"{"instances":3}"#, "takes shape"),
        (&model, r#"{"dataframe_split":{"columns":["a"],"data":[[1,2]]}}"#, "a row of 2 values under 1 columns"),
        (&model, r#"{"dataframe_split":[1]}"#, "dataframe_split"),
        (&model, r#"{"dataframe_records":[1]}"#, "dataframe_records"),
        (&columns, r#"{"dataframe_records":[{"size":1}]}"#, "column `colour` is missing"),
        (&columns, r#"{"dataframe_records":[{"size":1,"colour":2}]}"#, "whole numbers where BYTES"),
        (&columns, r#"{"inputs":{"size":[1]}}"#, "input `colour` is missing"),
        (&columns, r#"{"inputs":{"size":[1],"colour":["red"],"z":[1]}}"#, "no input `z`"),
        (&columns, r#"{"inputs":[[1]]}"#, "has 2 inputs"),
    ] {
        let e = invocations::read(model, body.as_bytes()).unwrap_err();
        assert!(e.contains(said), "{body}: {e}");
    }
    assert!(invocations::read_csv(&model, b"a,b,c,d\n1,2,\"3,4\n").unwrap_err().contains("not closed"));
    assert!(invocations::read_csv(&model, b"").unwrap_err().contains("empty"));
    let uneven = json!({ "inputs": { "size": [1, 2], "colour": ["red"] } });
    let inputs = invocations::read(&columns, uneven.to_string().as_bytes()).unwrap().inputs;
    let e = block(columns, 64, inputs).unwrap_err();
    assert!(e.contains("inputs of 2 and of 1 rows"), "{e}");
}

#[test]
fn what_is_missing_is_null_both_ways() {
    let (model, _) = fixture!("forest");
    assert!(
        inferred(
            &model,
            &json!({ "inputs": [{ "name": "X", "shape": [1, 4], "datatype": "FP32", "data": [null, 1, 2, 3] }] })
        )
        .is_ok()
    );
    let mut out = vec![];
    super::json::write(&mut out, &Data::F32(vec![f32::NAN, 1.5, f32::INFINITY]), 0, 3);
    assert_eq!(String::from_utf8(out).unwrap(), "null,1.5,null");
}

#[test]
fn whether_rows_may_share_a_run_is_found_out() {
    assert!(engine::look(&fixture!("forest").0, 64, WAIT).apart);
    assert!(!engine::look(&fixture!("centred").0, 64, WAIT).apart);
}

fn batching(max: usize) -> Batching {
    Batching { max, wait: WAIT, apart: true, pays: true }
}

fn on_a_loop<T>(body: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, body)
}

fn block(model: Model, max: usize, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, String> {
    on_a_loop(async move { Engine::new(Arc::new(model), batching(max)).infer(inputs).await })
}

#[test]
fn together_in_pieces_and_alone_the_answers_are_the_same() {
    let (model, _) = fixture!("forest");
    let whole = model.sample(100, 3).unwrap();
    let expected = model.run(whole.clone()).unwrap();
    assert_eq!(block(fixture!("forest").0, 16, whole.clone()).unwrap(), expected);
    on_a_loop(async move {
        let engine = Engine::new(Arc::new(model), batching(16));
        // Of uneven sizes, all at once; one goes away before it is answered.
        let parts = [(0, 1), (1, 2), (2, 9), (9, 10), (10, 26), (26, 40), (40, 100)];
        drop(tokio::task::spawn_local({
            let (engine, inputs) = (engine.clone(), vec![whole[0].rows(0, 1)]);
            async move { tokio::time::timeout(Duration::ZERO, engine.infer(inputs)).await }
        }));
        let asked = parts.map(|(from, to)| {
            let (engine, inputs) = (engine.clone(), vec![whole[0].rows(from, to)]);
            tokio::task::spawn_local(async move { engine.infer(inputs).await })
        });
        for (asked, (from, to)) in asked.into_iter().zip(parts) {
            let part: Vec<Tensor> = expected.iter().map(|t| t.rows(from, to)).collect();
            assert_eq!(asked.await.unwrap().unwrap(), part);
        }
        assert!(
            engine.infer(vec![Tensor::new(vec![0, 4], Data::F32(vec![]))]).await.unwrap_err().contains("without rows")
        );
    });
}

#[test]
fn a_file_that_is_damaged_anywhere_is_refused_or_runs() {
    let whole = include_bytes!("../../tests/fixtures/onnx/columns.onnx");
    let mut loaded = 0;
    for at in 0..whole.len() {
        assert!(Model::load(&whole[..at]).is_err() || at > whole.len() - 40, "{at}");
        for flip in [1, 0x80, 0xff] {
            let mut bytes = whole.to_vec();
            bytes[at] ^= flip;
            if let Ok(model) = Model::load(&bytes)
                && let Some(inputs) = model.sample(3, at as u64)
            {
                loaded += usize::from(model.run(inputs).is_ok());
            }
        }
    }
    assert!(loaded > 0, "bytes of names and coefficients may be anything");
}

fn json_like() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_map(|x| json!(x).to_string()),
        any::<i64>().prop_map(|x| x.to_string()),
        any::<u64>().prop_map(|x| x.to_string()),
        Just("true".into()),
        Just("\"red\"".into()),
        Just("1e999".into()),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let keys = prop_oneof![
            Just("inputs"),
            Just("name"),
            Just("shape"),
            Just("data"),
            Just("instances"),
            Just("columns"),
            Just("dataframe_split"),
            Just("dataframe_records"),
            Just("size"),
            Just("colour"),
        ];
        let object = prop::collection::vec((keys, inner.clone()), 0..5).prop_map(|all| {
            format!("{{{}}}", all.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect::<Vec<_>>().join(","))
        });
        prop_oneof![prop::collection::vec(inner, 0..5).prop_map(|v| format!("[{}]", v.join(","))), object]
    })
}

proptest! {
    #[test]
    fn no_body_breaks_anything(value in json_like(), cut in any::<u8>(), shape in prop::collection::vec(0u64..6, 0..4)) {
        let forms = [
            value.clone(),
            format!("{{\"inputs\":{value}}}"),
            format!("{{\"instances\":{value}}}"),
            format!("{{\"dataframe_records\":[{value}]}}"),
            format!("{{\"dataframe_split\":{{\"columns\":[\"size\",\"colour\"],\"data\":{value}}}}}"),
            format!("{{\"inputs\":[{{\"name\":\"X\",\"shape\":{shape:?},\"datatype\":\"FP32\",\"data\":{value}}}]}}"),
        ];
        for (model, _) in [fixture!("forest"), fixture!("columns")] {
            for body in forms.iter().flat_map(|b| [b.as_bytes(), &b.as_bytes()[..b.len().min(cut as usize)]]) {
                if let Ok(call) = v2::read(&model, body) {
                    let _ = model.run(call.inputs);
                }
                for read in [invocations::read, invocations::read_csv] {
                    if let Ok(call) = read(&model, body)
                        && let Ok(results) = model.run(call.inputs.clone())
                    {
                        serde_json::from_slice::<Value>(&call.reply(&model, &results).unwrap()).unwrap();
                    }
                }
            }
        }
    }
}
