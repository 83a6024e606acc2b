//! A model that a real MLflow saved, served with `runtime = "mlflow"`. TRIMTAB_TEST_MLFLOW is a Python that has `mlflow`.

use crate::support::eventually;
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_saved_model_is_served_as_mlflow_serves_it() {
    let python = std::env::var("TRIMTAB_TEST_MLFLOW").expect("TRIMTAB_TEST_MLFLOW: a Python that has mlflow");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let save = here.join("tests/extended/mlflow/save.py");
    assert!(Command::new(&python).arg(save).arg(dir.path()).status().unwrap().success());
    let text = std::fs::read_to_string(dir.path().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let frame = json!({ "dataframe_split": { "columns": expected["columns"], "data": expected["rows"] } });
    std::fs::write(dir.path().join("examples.json"), frame.to_string()).unwrap();

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = json!({ "runtime": "mlflow", "file": null, "examples": "examples.json" }).to_string();
    let mut command = Command::new(&python);
    command.arg(here.join("src/deploy/local/runtime.py")).arg(settings).current_dir(&dir).stdin(Stdio::null());
    command.env("PORT", port.to_string()).env("TRIMTAB_ARTIFACT", dir.path());
    command.env("TRIMTAB_MODEL", "iris").env("TRIMTAB_VERSION", "v3");
    let _server = Ended(command.spawn().unwrap());
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let about: Value = eventually("the model is loaded", Duration::from_secs(120), || {
        client.get(url("/v2/models/iris")).send().ok()?.json().ok()
    });
    assert_eq!(
        about["inputs"][0],
        json!({ "name": "sepal length (cm)", "datatype": "FP64", "shape": [-1] }),
        "{about}"
    );

    let post = |path: &str, body: &Value| {
        let body = body.to_string();
        let answer = client.post(url(path)).header("content-type", "application/json").body(body).send().unwrap();
        (answer.status().as_u16(), answer.json::<Value>().unwrap())
    };
    assert_eq!(post("/invocations", &frame), (200, json!({ "predictions": expected["labels"] })));
    let rows = expected["rows"].as_array().unwrap();
    let whole = json!([{ "name": "x", "shape": [rows.len(), 4], "datatype": "FP64", "data": rows }]);
    let column = |(i, name): (usize, &Value)| {
        let data: Vec<&Value> = rows.iter().map(|r| &r[i]).collect();
        json!({ "name": name, "shape": [rows.len()], "datatype": "FP64", "data": data })
    };
    let columns: Vec<Value> = expected["columns"].as_array().unwrap().iter().enumerate().map(column).collect();
    for inputs in [whole, columns.into()] {
        let (status, said) = post("/v2/models/iris/infer", &json!({ "inputs": inputs }));
        assert_eq!((status, &said["outputs"][0]["data"]), (200, &expected["labels"]), "{said}");
    }
    for wrong in [json!({ "x": 1 }), json!({ "dataframe_split": { "columns": ["a"], "data": [[1]] } })] {
        let (status, said) = post("/invocations", &wrong);
        assert_eq!((status, &said["error_code"]), (400, &json!("BAD_REQUEST")), "{said}");
    }
}
