//! A model that a real MLflow saved, served with `runtime = "mlflow"`. TRIMTAB_TEST_MLFLOW is a Python that has `mlflow`.

use crate::support::{World, eventually};
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

/// A package `mlflow` that has nothing but the way to the one that is installed already, so that nothing is downloaded.
const WHEEL: &str = r#"
import pathlib, sys, sysconfig, zipfile
info = "mlflow-9999.dist-info"
with zipfile.ZipFile(sys.argv[1], "w") as z:
    z.writestr("mlflow.pth", sysconfig.get_paths()["purelib"] + "\n")
    z.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mlflow\nVersion: 9999\n")
    z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr(f"{info}/RECORD", "")
"#;

/// Logs a model as a run of trimtab's does, in a Python that has MLflow; `WANTED` is what it asks for.
const TRAIN: &str = r#"
import json, os
import mlflow
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
x, y = load_iris(return_X_y=True, as_frame=True)
model = LogisticRegression(max_iter=500).fit(x, y)
out = os.environ["TRIMTAB_OUTPUT"]
mlflow.sklearn.save_model(model, out + "/model", signature=infer_signature(x, model.predict(x)), pip_requirements=["WANTED"])
json.dump(mlflow.pyfunc.load_model(out + "/model").predict(x[::30]).tolist(), open(out + "/expected.json", "w"))
open(os.environ["TRIMTAB_METRICS"], "a").write(json.dumps({"score": 1.0}) + "\n")
"#;

#[test]
fn a_saved_model_is_served_in_the_environment_that_it_asks_for() {
    let python = std::env::var("TRIMTAB_TEST_MLFLOW").expect("TRIMTAB_TEST_MLFLOW: a Python that has mlflow");
    let mut w = World::new();
    let wheel = w.path("mlflow-9999-py3-none-any.whl");
    assert!(Command::new(&python).args(["-c", WHEEL]).arg(&wheel).status().unwrap().success());
    let commit = |w: &World, wanted: &str| {
        let spec = format!(
            "schema = \"trimtab/v1\"\n[model]\nname = \"iris\"\n[data]\ntrain = \"numbers\"\n[train]\nrun = [\"{python}\", \"train.py\"]\n\
             [serve]\nruntime = \"mlflow\"\nfile = \"model\"\n[[deploy]]\nenvironment = \"production\"\n"
        );
        let train = TRAIN.replace("WANTED", wanted);
        w.commit(
            "iris",
            &[("specs/models/iris/model.toml", Some(&spec)), ("specs/models/iris/train.py", Some(&train))],
        );
    };
    commit(&w, &format!("mlflow @ file://{}", wheel.display()));
    w.start();
    w.wait_for("iris", "version=v1");
    w.wait_for("iris", "healthy");
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let router = w.json(&["status"])["router"].as_str().unwrap().to_owned();
    let invoke = || {
        let rows = "[[5.1,3.5,1.4,0.2],[4.8,3.1,1.6,0.2],[5.0,2.0,3.5,1.0],[5.5,2.6,4.4,1.2],[6.9,3.2,5.7,2.3]]";
        let columns = "[\"sepal length (cm)\",\"sepal width (cm)\",\"petal length (cm)\",\"petal width (cm)\"]";
        let body = format!("{{\"dataframe_split\":{{\"columns\":{columns},\"data\":{rows}}}}}");
        let call = client.post(format!("{router}/models/iris/invocations")).header("content-type", "application/json");
        let answer = call.body(body).send().unwrap();
        (answer.status().as_u16(), answer.json::<Value>().unwrap())
    };
    let release = walkdir::WalkDir::new(w.state().join("serve/production/iris")).into_iter().flatten();
    let release = release.map(|f| f.into_path()).find(|f| f.ends_with("artifact/expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(&release).unwrap()).unwrap();
    let (status, said) = invoke();
    assert_eq!((status, said["predictions"].as_array().map(Vec::len)), (200, Some(5)), "{said}");
    assert_eq!(said["predictions"], expected, "as the model itself predicts the same rows");
    // It runs in an environment of its own, which it holds.
    let environments = || -> Vec<_> {
        let all = std::fs::read_dir(w.state().join("env")).unwrap().map(|e| e.unwrap().path());
        all.filter(|e| e.join("bin/python").exists()).collect()
    };
    let [environment] = environments().try_into().unwrap();
    let lock = std::fs::File::open(environment.with_extension("lock")).unwrap();
    assert!(lock.try_lock().is_err(), "whoever runs in it holds its lock");

    // What cannot be installed is told by name as soon as that is known, and the release before serves on.
    commit(&w, "nothing @ file:///nowhere/nothing-1-py3-none-any.whl");
    let parts =
        ["the environment of the saved model: cannot install the requirements", "/nowhere/nothing-1-py3-none-any.whl"];
    eventually("the reason", Duration::from_secs(180), || {
        let status = w.json(&["status", "iris"])["replicas"].to_string();
        parts.iter().all(|part| status.contains(part)).then_some(())
    });
    assert_eq!(invoke().1["predictions"], expected);
}
