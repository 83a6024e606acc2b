//! Runtimes: models that are served without a server of the user's.

use crate::support::{World, eventually, until};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const FOREST: &[u8] = include_bytes!("../fixtures/onnx/forest.onnx");
const ANSWERS: &str = include_str!("../fixtures/onnx/forest.json");

/// What trains by copying files of the code.
const COPY: &str = r#"
import json, os, shutil
for name in os.listdir("."):
    if name.endswith((".onnx", ".json")):
        shutil.copy(name, os.environ["TRIMTAB_OUTPUT"])
open(os.environ["TRIMTAB_METRICS"], "a").write(json.dumps({"score": 1.0}) + "\n")
"#;

fn spec(name: &str, serve: &str) -> String {
    format!(
        "schema = \"trimtab/v1\"\n[model]\nname = \"{name}\"\n[data]\ntrain = \"numbers\"\n[train]\nrun = [\"python3\", \"train.py\"]\n\
         [serve]\n{serve}\n[[deploy]]\nenvironment = \"production\"\n"
    )
}

fn commit(world: &World, name: &str, serve: &str, files: &[(&str, &[u8])]) {
    let spec = spec(name, serve);
    let own = [("model.toml", spec.as_bytes()), ("train.py", COPY.as_bytes())];
    let at = |file: &str| format!("specs/models/{name}/{file}");
    let all: Vec<(String, &[u8])> = own.iter().chain(files).map(|(file, content)| (at(file), *content)).collect();
    let all: Vec<(&str, Option<&[u8]>)> = all.iter().map(|(path, content)| (path.as_str(), Some(*content))).collect();
    world.commit_bytes(&format!("{name}: serve it"), &all);
}

fn post(world: &World, path: &str, kind: &str, body: impl Into<String>) -> (u16, Value) {
    let router = world.json(&["status"])["router"].as_str().unwrap().to_owned();
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(format!("{router}{path}")).header("content-type", kind).body(body.into()).send().unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().unwrap());
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

const JSON: &str = "application/json";

#[test]
fn an_onnx_file_is_served_by_trimtab_itself() {
    let mut world = World::new();
    let answers: Value = serde_json::from_str(ANSWERS).unwrap();
    let examples = json!([{ "inputs": answers["inputs"]["X"] }]).to_string();
    let serve = "runtime = \"onnx\"\nexamples = \"examples.json\"\nbatch = { max = 32, wait = \"2ms\" }";
    commit(&world, "iris", serve, &[("iris.onnx", FOREST), ("examples.json", examples.as_bytes())]);
    world.start();
    world.wait_for("iris", "healthy");

    let (status, _, about) = world.get("/models/iris/v2/models/iris");
    let about: Value = serde_json::from_str(&about).unwrap();
    assert_eq!((status, &about["platform"], &about["versions"]), (200, &json!("onnx"), &json!(["v1"])));
    let input = json!({ "name": "X", "shape": [5, 4], "datatype": "FP32", "data": answers["inputs"]["X"] });
    let (status, said) =
        post(&world, "/models/iris/v2/models/iris/versions/1/infer", JSON, json!({ "inputs": [input] }).to_string());
    assert_eq!((status, &said["outputs"][0]["data"]), (200, &answers["outputs"]["output_label"]), "{said}");
    let (status, said) =
        post(&world, "/models/iris/invocations", JSON, json!({ "inputs": answers["inputs"]["X"] }).to_string());
    assert_eq!((status, &said["predictions"]["output_label"]), (200, &answers["outputs"]["output_label"]), "{said}");
    assert_eq!(world.get("/models/iris/ping").0, 200);

    let (status, said) = post(&world, "/models/iris/v2/models/iris/infer", JSON, "{\"inputs\": 1}");
    assert!(status == 400 && said["error"].is_string(), "{said}");
    let (status, said) = post(&world, "/models/iris/invocations", JSON, "{\"instances\": [[1]]}");
    assert_eq!((status, &said["error_code"]), (400, &json!("BAD_REQUEST")), "{said}");
    assert_eq!(post(&world, "/models/iris/invocations", "application/xml", "<a/>").0, 415);
    assert_eq!(post(&world, "/models/iris/v2/models/other/infer", JSON, "{}").0, 404);
    assert_eq!(post(&world, "/models/iris/v2/models/iris/infer", JSON, " ".repeat(17 << 20)).0, 413);
    let rows = vec![answers["inputs"]["X"][0].clone(); 50_000];
    let (status, said) = post(&world, "/models/iris/invocations", JSON, json!({ "inputs": rows }).to_string());
    assert_eq!((status, said["predictions"]["output_label"].as_array().map(Vec::len)), (200, Some(50_000)));
}

#[test]
fn a_model_that_cannot_be_served_says_why_and_takes_nothing_down() {
    let mut world = World::new();
    commit(&world, "iris", "runtime = \"onnx\"", &[("iris.onnx", FOREST)]);
    world.start();
    world.wait_for("iris", "healthy");
    commit(&world, "iris", "runtime = \"onnx\"\nready_timeout = \"3s\"", &[("iris.onnx", &FOREST[..3000])]);
    until("the release is rejected", || world.json(&["status", "iris"])["summary"]["health"] == "Degraded");
    let status = world.json(&["status", "iris"]).to_string();
    assert!(status.contains("this is no ONNX file, or it ends early"), "{status}");
    assert_eq!(world.get("/models/iris/v2/health/ready").0, 200);
}

#[test]
fn a_function_is_served_without_a_web_framework() {
    let predict = r#"
import os
ARTIFACT = os.listdir(os.environ["TRIMTAB_ARTIFACT"])
def total(rows, params):
    if params.get("fail"):
        raise RuntimeError("as asked")
    if any(isinstance(r, dict) for r in rows):
        return [{"total": sum(r.values()), "files": len(ARTIFACT)} for r in rows]
    return [sum(r) for r in rows]
"#;
    let mut world = World::new();
    commit(
        &world,
        "sum",
        "runtime = \"python\"\npredict = \"adding:total\"",
        &[("adding.py", predict.as_bytes()), ("a.json", b"{}")],
    );
    world.start();
    world.wait_for("sum", "healthy");
    let input = json!({ "name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4.5] });
    let (status, said) =
        post(&world, "/models/sum/v2/models/sum/infer", JSON, json!({ "id": "a", "inputs": [input] }).to_string());
    let output = json!({ "name": "predict", "shape": [2], "datatype": "FP64", "data": [3, 7.5] });
    assert_eq!(
        (status, &said["outputs"], &said["id"], &said["model_version"]),
        (200, &json!([output]), &json!("a"), &json!("v1"))
    );
    // The answer comes while the body is on its way.
    for size in [65 << 20, 90 << 20] {
        let (status, said) = post(&world, "/models/sum/invocations", JSON, " ".repeat(size));
        assert_eq!((status, &said["message"]), (413, &json!("a body may have 64 MiB")), "{said}");
    }
    let records = json!({ "dataframe_split": { "columns": ["a", "b"], "data": [[1, 2]] } }).to_string();
    let (status, said) = post(&world, "/models/sum/invocations", JSON, records);
    assert_eq!((status, said), (200, json!({ "predictions": [{ "total": 3, "files": 1 }] })));
    for (body, wanted) in [
        ("{\"instances\": [[1, 2]], \"params\": {\"fail\": true}}", 500),
        ("{\"instances\": [[1]], \"inputs\": [[1]]}", 400),
        ("[", 400),
        ("{\"dataframe_split\": {\"columns\": [1], \"data\": [[1, 2]]}}", 400),
        ("{\"dataframe_records\": [1]}", 400),
    ] {
        let (status, said) = post(&world, "/models/sum/invocations", JSON, body);
        assert!(status == wanted && said["message"].is_string(), "{body}: {status} {said}");
    }
    for input in [
        "1",
        "{\"name\": \"x\", \"shape\": [2], \"datatype\": \"FP32\", \"data\": [1]}",
        "{\"name\": \"x\", \"shape\": [1], \"datatype\": \"FP32\", \"data\": [\"a\"]}",
        "{\"name\": \"x\", \"shape\": [1], \"datatype\": \"WORD\", \"data\": [1]}",
        "{\"name\": [], \"shape\": [1], \"datatype\": \"FP32\", \"data\": [1]}",
        "{\"name\": \"x\", \"shape\": [2, 2], \"datatype\": \"FP32\", \"data\": [[1, 2], [3]]}",
    ] {
        let (status, said) =
            post(&world, "/models/sum/v2/models/sum/infer", JSON, format!("{{\"inputs\": [{input}]}}"));
        assert!(status == 400 && said["error"].is_string(), "{input}: {status} {said}");
    }
}

/// The loader of Python models with a function that returns what it gets.
struct Loader {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Loader {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("predict.py"), "def predict(rows):\n    return rows\n").unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/deploy/local/runtime.py");
        let mut command = Command::new("python3");
        command.arg(file).arg("{\"runtime\":\"python\",\"predict\":\"predict:predict\"}").current_dir(&folder);
        command.env("PORT", address.port().to_string()).env("TRIMTAB_MODEL", "m").stdin(Stdio::null());
        let loader = Self { process: command.spawn().unwrap(), address, _folder: folder };
        eventually("it listens", Duration::from_secs(30), || TcpStream::connect(address).ok());
        loader
    }

    /// Sends a head and as much of a body as is taken, without end, then reads to the end of the connection; with the bytes that were sent.
    fn flood(&self, head: &str, part: &[u8]) -> (String, u64) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(format!("POST /invocations HTTP/1.1\r\nhost: m\r\n{head}\r\n\r\n").as_bytes()).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let part = part.to_vec();
        let sending = std::thread::spawn(move || {
            let mut sent = 0;
            // Until the other side is gone.
            while !part.is_empty() && writer.write_all(&part).is_ok() {
                sent += part.len() as u64;
            }
            sent
        });
        let (mut said, mut bytes) = (Vec::new(), [0; 4096]);
        // The answer is there before the connection is, and what is sent after it may be answered by a reset.
        while let Ok(n @ 1..) = stream.read(&mut bytes) {
            said.extend_from_slice(&bytes[..n]);
        }
        (String::from_utf8(said).unwrap(), sending.join().unwrap())
    }
}

#[test]
fn a_body_that_is_too_large_for_a_function_is_refused_before_it_is_read() {
    let loader = Loader::start();
    let zeros = vec![b'0'; 1 << 20];
    for (head, part) in [
        ("content-length: 67108865", &zeros[..]),
        ("content-length: 99999999999999999999999999", &zeros[..]),
        ("content-length: 1099511627776", &[]),
        ("content-length: 1099511627776\r\nexpect: 100-continue", &[]),
        ("transfer-encoding: chunked", b"fffffff\r\n0"),
        ("transfer-encoding: chunked", &[b"1000000\r\n".as_slice(), &vec![b'0'; 1 << 24], b"\r\n"].concat()),
    ] {
        let began = Instant::now();
        let (said, sent) = loader.flood(head, part);
        assert!(said.starts_with("HTTP/1.1 413 "), "{head}: {said}");
        assert!(said.contains("\r\nconnection: close\r\n"), "{head}: {said}");
        assert!(
            said.ends_with("{\"error_code\": \"BAD_REQUEST\", \"message\": \"a body may have 64 MiB\"}"),
            "{head}: {said}"
        );
        // What it reads on for the client's sake, with what the kernel holds; of chunks those that it takes at first.
        let read = if head.contains("chunked") { 120 << 20 } else { 40 << 20 };
        assert!(sent < read && began.elapsed() < Duration::from_secs(20), "{head}: {sent} in {:?}", began.elapsed());
    }
    for (head, status) in [
        ("content-length: 1e3", "411 "),
        ("content-length: -1", "411 "),
        ("x: y", "411 "),
        ("transfer-encoding: chunked\r\n\r\n-5\r\n", "400 "),
        ("transfer-encoding: chunked\r\n\r\nzz\r\n", "400 "),
    ] {
        let (said, _) = loader.flood(head, &[]);
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status}")) && said.contains("\r\nconnection: close\r\n"),
            "{head}: {said}"
        );
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{head}: {said}");
    }
    // The body of a request that has none is no request.
    let mut stream = TcpStream::connect(loader.address).unwrap();
    let inner = "GET /v2 HTTP/1.1\r\nhost: m\r\n\r\n";
    write!(stream, "GET /ping HTTP/1.1\r\nhost: m\r\ncontent-length: {}\r\n\r\n{inner}", inner.len()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    // Others are served on.
    let client = reqwest::blocking::Client::builder().no_proxy().build().unwrap();
    let call = client.post(format!("http://{}/invocations", loader.address)).header("content-type", JSON);
    assert_eq!(
        call.body("{\"instances\": [[1]]}").send().unwrap().json::<Value>().unwrap(),
        json!({ "predictions": [[1]] })
    );
}
