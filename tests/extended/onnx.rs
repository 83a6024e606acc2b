//! Models that skl2onnx exports are answered as onnxruntime answers them. TRIMTAB_TEST_ONNX is a Python that has both.

use crate::support::eventually;
use serde_json::{Value, json};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How far figures may be apart: of themselves, or of 1 when they are small.
const CLOSE: f64 = 1e-5;

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn of(folder: &Path, name: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = json!({ "file": format!("{name}.onnx"), "examples": null, "max": 16, "wait": 1 }).to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
        command.args(["internal-serve", &settings]).stdin(Stdio::null());
        command.env("PORT", port.to_string()).env("TRIMTAB_ARTIFACT", folder);
        command.env("TRIMTAB_MODEL", "m").env("TRIMTAB_VERSION", "v1");
        Self { child: command.spawn().unwrap(), url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= CLOSE * b.abs().max(1.0),
        _ => a == b,
    }
}

#[test]
fn what_skl2onnx_exports_is_answered_as_onnxruntime_answers_it() {
    let python =
        std::env::var("TRIMTAB_TEST_ONNX").expect("TRIMTAB_TEST_ONNX: a Python that has skl2onnx and onnxruntime");
    let dir = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/extended/onnx/export.py");
    assert!(Command::new(python).arg(script).arg(dir.path()).status().unwrap().success());
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let mut compared = 0;
    let mut names: Vec<String> =
        std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for name in names.iter().filter_map(|n| n.strip_suffix(".onnx")) {
        let text = std::fs::read_to_string(dir.path().join(format!("{name}.json"))).unwrap();
        let expected: Value = serde_json::from_str(&text).unwrap();
        let server = Server::of(dir.path(), name);
        let rows = expected["rows"].as_array().unwrap();
        let shape = [rows.len(), rows[0].as_array().unwrap().len()];
        let input = json!({ "name": expected["input"], "shape": shape, "datatype": "FP32", "data": rows });
        let body = json!({ "inputs": [input] }).to_string();
        let answer: Value = eventually(name, Duration::from_secs(30), || {
            client.post(format!("{}/v2/models/m/infer", server.url)).body(body.clone()).send().ok()?.json().ok()
        });
        let outputs = answer["outputs"].as_array().unwrap_or_else(|| panic!("{name}: {answer}"));
        assert_eq!(outputs.len(), expected["outputs"].as_object().unwrap().len(), "{name}");
        for output in outputs {
            let want = expected["outputs"][output["name"].as_str().unwrap()].as_array().unwrap();
            let data = output["data"].as_array().unwrap();
            assert_eq!(data.len(), want.len(), "{name}");
            for (i, (a, b)) in data.iter().zip(want).enumerate() {
                assert!(same(a, b), "{name}: {} {i}: {a}, not {b}", output["name"]);
                compared += 1;
            }
        }
    }
    assert!(compared > 3_000, "{compared}");
}
